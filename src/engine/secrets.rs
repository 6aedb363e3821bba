//! Where the secrets of a build are, and their values.
//!
//! Source: BuildKit's `session/secrets/secretsprovider/store.go`. A variable that is not set is an
//! error here, where BuildKit hands over an empty secret.
#![expect(clippy::disallowed_methods, reason = "reads files with secrets")]

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::engine::given::GivenError;
use crate::secret::{Secret, Source};

/// A larger secret is refused, in bytes (`MaxSecretSize`).
pub const LARGEST: u64 = 500 * 1024;

/// How messages call one.
const WHAT: &str = "secret";

/// Where the secrets of a build are, by id. Everything was there when this was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<String, Place>);

/// Where one secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a variable.
    Environment {
        /// Its name.
        variable: String,
        /// What it holds.
        value: Value,
    },
    /// In this file; absolute if the workspace root is.
    File(PathBuf),
}

/// The value of a secret; `Debug` says nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Value(Vec<u8>);

impl fmt::Debug for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Value").finish_non_exhaustive()
    }
}

impl Value {
    /// The value. Whoever takes it does not print it.
    pub fn reveal(self) -> Vec<u8> {
        self.0
    }
}

impl Secrets {
    /// Finds the secrets that texts of `--secret` name, in the workspace below `root`.
    pub fn find(
        texts: &[String],
        root: &Path,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, GivenError> {
        let mut sources = BTreeMap::new();
        for text in texts {
            let why = |why| GivenError::Text { what: WHAT, text: text.clone(), why };
            let Secret { id, source } = text.parse().map_err(why)?;
            sources.insert(id, source);
        }
        let places = sources.into_iter().map(|(id, source)| {
            let place = place(&id, source, root, environment)?;
            Ok((id, place))
        });
        places.collect::<Result<_, _>>().map(Self)
    }

    /// Where each secret is, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Place)> {
        self.0.iter().map(|(id, place)| (id.as_str(), place))
    }

    /// The value of a secret, of a file as it is now; `None` if the build is given none of this id.
    pub fn load(&self, id: &str) -> Result<Option<Value>, GivenError> {
        match self.0.get(id) {
            None => Ok(None),
            Some(Place::Environment { value, .. }) => Ok(Some(value.clone())),
            Some(Place::File(path)) => read(id, path).map(Value).map(Some),
        }
    }
}

/// Where a secret is. That it is there is said before a build rather than in the middle of it.
fn place(
    id: &str,
    source: Source,
    root: &Path,
    environment: &BTreeMap<String, String>,
) -> Result<Place, GivenError> {
    let in_variable = |name: &str| {
        let value = Value(environment.get(name)?.clone().into_bytes());
        Some(Place::Environment { variable: name.to_owned(), value })
    };
    match source {
        Source::Environment(name) => {
            in_variable(&name).ok_or_else(|| GivenError::unset(WHAT, id, &name))
        }
        Source::File(path) => in_file(id, root.join(path)),
        Source::Either => match in_variable(id) {
            Some(place) => Ok(place),
            None if root.join(id).exists() => in_file(id, root.join(id)),
            None => Err(GivenError::Nowhere { id: id.to_owned(), path: root.join(id) }),
        },
    }
}

fn in_file(id: &str, path: PathBuf) -> Result<Place, GivenError> {
    let file = fs::metadata(&path).map_err(|error| GivenError::file(WHAT, id, &path, error))?;
    match file.len() {
        _ if file.is_dir() => {
            Err(GivenError::file(WHAT, id, &path, io::ErrorKind::IsADirectory.into()))
        }
        size if size > LARGEST => Err(too_large(id, &path)),
        _ => Ok(Place::File(path)),
    }
}

fn read(id: &str, path: &Path) -> Result<Vec<u8>, GivenError> {
    let fail = |error| GivenError::file(WHAT, id, path, error);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(fail)?;
    let size = file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(fail)?;
    if size as u64 > LARGEST { Err(too_large(id, path)) } else { Ok(bytes) }
}

fn too_large(id: &str, path: &Path) -> GivenError {
    GivenError::TooLarge { id: id.to_owned(), path: path.to_path_buf() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    /// A workspace with a secret in `token`.
    fn workspace() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("token"), "from a file").unwrap();
        root
    }

    fn said(root: &Path, texts: &[&str]) -> String {
        let error = Secrets::find(&owned(texts), root, &environment(&[])).unwrap_err();
        error.to_string().replace(&root.display().to_string(), "~")
    }

    #[test]
    fn values_come_from_variables_and_from_files_below_the_root() {
        let root = workspace();
        let environment = environment(&[("NPM", "from a variable"), ("bare", "called alike")]);
        let texts = owned(&["id=a,env=NPM", "id=b,src=token", "id=bare", "id=token"]);
        let secrets = Secrets::find(&texts, root.path(), &environment).unwrap();
        let value = |id: &str| {
            let value = secrets.load(id).unwrap();
            value.map(|value| String::from_utf8(value.reveal()).unwrap())
        };
        assert_eq!(value("a").as_deref(), Some("from a variable"));
        assert_eq!(value("b").as_deref(), Some("from a file"));
        assert_eq!(value("bare").as_deref(), Some("called alike"));
        assert_eq!(value("token").as_deref(), Some("from a file"));
        assert_eq!(value("NPM"), None);
    }

    #[test]
    fn the_last_of_two_texts_with_one_id_counts() {
        let root = workspace();
        let texts = owned(&["id=a,src=gone", "id=a,src=token"]);
        let secrets = Secrets::find(&texts, root.path(), &environment(&[])).unwrap();
        let place = Place::File(root.path().join("token"));
        assert_eq!(secrets.iter().collect::<Vec<_>>(), [("a", &place)]);
    }

    #[test]
    fn what_is_missing_is_named_with_its_id_and_its_place() {
        let root = workspace();
        assert_eq!(
            said(root.path(), &["id=npm,env=NPM_TOKEN"]),
            "secret `npm` is to come from the variable NPM_TOKEN, which is not set"
        );
        assert_eq!(
            said(root.path(), &["id=npm"]),
            "secret `npm` is nowhere: no variable is called so, and there is no ~/npm"
        );
        assert_eq!(
            said(root.path(), &["id=npm,src=x"]),
            "secret `npm` is to come from ~/x: No such file or directory (os error 2)"
        );
        assert_eq!(
            said(root.path(), &["id=npm,src=."]),
            "secret `npm` is to come from ~/.: is a directory"
        );
        assert_eq!(said(root.path(), &["npm"]), "`npm` names no secret: `npm` is not `key=value`");
    }

    #[test]
    fn a_secret_is_at_most_as_large_as_buildkit_takes_it() {
        let root = workspace();
        let file = File::create(root.path().join("large")).unwrap();
        file.set_len(LARGEST).unwrap();
        let texts = owned(&["id=l,src=large"]);
        let secrets = Secrets::find(&texts, root.path(), &environment(&[])).unwrap();
        assert!(secrets.load("l").is_ok());
        file.set_len(LARGEST + 1).unwrap();
        let late = secrets.load("l").unwrap_err().to_string();
        let early = said(root.path(), &["id=l,src=large"]);
        assert_eq!(early, "secret `l` in ~/large is larger than 500 KiB");
        assert_eq!(late.replace(&root.path().display().to_string(), "~"), early);
    }

    #[test]
    fn a_value_is_not_shown() {
        let environment = environment(&[("NPM", "hunter2")]);
        let secrets = Secrets::find(&owned(&["id=a,env=NPM"]), Path::new(""), &environment);
        let value = secrets.as_ref().unwrap().load("a");
        assert!(!format!("{secrets:?} {value:?}").contains("hunter2"));
    }
}
