//! Trees of images as people have them, made of nothing but a few numbers.

use std::fmt::Write as _;
use std::path::Path;
use std::str::FromStr;
use std::{fs, io};

/// How the images of a tree depend on each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One in a hundred a base, nine intermediates on bases, ninety apps on those. Few of each are
    /// popular, most are not (Zipf).
    Zipf,
    /// Each on the one before it.
    Chain,
    /// All on one.
    Fan,
    /// Two by two, each on both before it.
    Ladder,
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "zipf" => Ok(Self::Zipf),
            "chain" => Ok(Self::Chain),
            "fan" => Ok(Self::Fan),
            "ladder" => Ok(Self::Ladder),
            _ => Err(format!("a shape is zipf, chain, fan or ladder, and not {text}")),
        }
    }
}

/// An image of a tree.
pub(crate) struct Image {
    /// Its name, and its directory below `images/`.
    pub(crate) name: String,
    /// The images that it stands on, by number; all of them come before it.
    pub(crate) parents: Vec<usize>,
}

/// The images of a tree, parents first.
pub(crate) fn images(shape: Shape, count: usize) -> Vec<Image> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let bases = (count / 100).max(1);
    let intermediates = (count * 9 / 100).max(1);
    let one = |number: usize| match shape {
        Shape::Zipf if number < bases => (format!("base/b{number:04}"), Vec::new()),
        Shape::Zipf if number < bases + intermediates => {
            (format!("lang/l{number:04}"), vec![random.zipf(bases)])
        }
        Shape::Zipf => (format!("apps/a{number:05}"), vec![bases + random.zipf(intermediates)]),
        Shape::Chain => (format!("apps/a{number:05}"), number.checked_sub(1).into_iter().collect()),
        Shape::Fan => {
            (format!("apps/a{number:05}"), (number > 0).then_some(0).into_iter().collect())
        }
        Shape::Ladder => {
            let level = number / 2 * 2;
            (format!("apps/a{number:05}"), (level.saturating_sub(2)..level).collect())
        }
    };
    (0..count).map(one).map(|(name, parents)| Image { name, parents }).collect()
}

/// Writes a tree: for each image a Dockerfile and so many files in `src/`, and what ninja needs to
/// see the same dependencies.
pub(crate) fn plant(root: &Path, images: &[Image], files: usize) -> io::Result<()> {
    fs::create_dir_all(root.join("images"))?;
    fs::write(root.join("layers.toml"), "[workspace]\nregistry = \"registry.example/acme\"\n")?;
    fs::write(root.join(".gitignore"), "/.imgraph/\n/.ninja_*\n/out/\n")?;
    fs::write(root.join("build.ninja"), ninja(images, files))?;
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for image in images {
        let directory = root.join("images").join(&image.name);
        fs::create_dir_all(directory.join("src"))?;
        fs::write(directory.join("Dockerfile"), dockerfile(image, images))?;
        for file in 0..files {
            let mut text = format!("// file {file} of {}\n", image.name);
            while text.len() < 340 {
                writeln!(text, "{:016x}", random.next()).unwrap_or_default();
            }
            fs::write(directory.join(format!("src/f{file}.txt")), text)?;
        }
    }
    Ok(())
}

fn dockerfile(image: &Image, images: &[Image]) -> String {
    let reference = |parent: &usize| format!("registry.example/acme/{}", images[*parent].name);
    let (base, others) = match image.parents.split_first() {
        Some((base, others)) => (reference(base), others),
        None => ("scratch".to_owned(), &[][..]),
    };
    let mut text = format!("FROM {base}\nARG VERSION=1\nENV VERSION=${{VERSION}}\n");
    for other in others {
        writeln!(text, "COPY --from={} /opt /opt", reference(other)).unwrap_or_default();
    }
    writeln!(text, "COPY src /opt/{}", image.name).unwrap_or_default();
    text.push_str("RUN make -C /opt && \\\n    rm -rf /var/cache/*\nUSER 1000\nCMD [\"serve\"]\n");
    text
}

/// One edge an image: its Dockerfile, its files, and the stamps of its parents.
fn ninja(images: &[Image], files: usize) -> String {
    let mut text = "rule build\n  command = touch $out\n".to_owned();
    for image in images {
        let name = &image.name;
        write!(text, "build out/{name}: build images/{name}/Dockerfile").unwrap_or_default();
        for file in 0..files {
            write!(text, " images/{name}/src/f{file}.txt").unwrap_or_default();
        }
        for parent in &image.parents {
            write!(text, " out/{}", images[*parent].name).unwrap_or_default();
        }
        text.push('\n');
    }
    text
}

/// Numbers that are the same every time (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `count`; the first ones come most often, the n-th one n times more rarely.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it need not be exact"
    )]
    fn zipf(&mut self, count: usize) -> usize {
        let part = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        let rank = ((count as f64 + 1.0).ln() * part).exp() - 1.0;
        (rank as usize).min(count - 1)
    }
}
