use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;
use crate::digest::OciDigest;
use crate::fingerprint::difference::difference;
use crate::fingerprint::leaf::{decode, encode};
use crate::fingerprint::reason::Reason;
use crate::graph::fixture::Fixture;
use crate::lockfile::Locked;

const TREE: &str = "//- layers.toml
    [workspace]
    registry = 'acme'
    [image.app]
    target = 'prod'
    args = { LEVEL = 'info', UNUSED = 'x', HTTP_PROXY = 'http://one' }
    labels = { team = 'core' }
    secrets = ['id=npm,env=NPM_TOKEN']
    //- base/Dockerfile
    FROM scratch
    //- tools/Dockerfile
    FROM scratch
    //- app/Dockerfile
    # syntax=docker/dockerfile:1
    FROM acme/base AS prod
    ARG LEVEL
    # a comment
    COPY --from=acme/tools /t /
    COPY --from=busybox:1.36 /b /
    ADD https://example.com/x.tar /x/
    COPY src /src
    RUN --mount=type=secret,id=npm make

    FROM acme/base AS other
    RUN other";

const TARGET: &str = "target = 'prod'";

/// Everything that a key could depend on.
#[derive(Clone)]
struct Case {
    tree: String,
    entries: Vec<Entry>,
    flavour: Flavour,
    epoch: u64,
    pins: LockFile,
    parent: Digest,
    parent_name: &'static str,
}

impl Case {
    fn new() -> Self {
        let entry =
            |path: &str, kind| Entry { path: PathBuf::from(path), kind, mode: 0o644, xattrs: None };
        Self {
            tree: TREE.to_owned(),
            entries: vec![
                entry("src", EntryKind::Directory),
                entry("src/link", EntryKind::Symlink(PathBuf::from("main"))),
                entry("src/main", file(b"main")),
            ],
            flavour: Flavour::BuildKit,
            epoch: 0,
            pins: LockFile::default(),
            parent: Digest::of_content(b"parent"),
            parent_name: "base",
        }
    }

    fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut case = Self::new();
        change(&mut case);
        case
    }

    fn with_text(from: &str, to: &str) -> Self {
        assert_eq!(TREE.matches(from).count(), 1, "`{from}` stands there once");
        Self::with(|case| case.tree = case.tree.replace(from, to))
    }

    /// Pins a reference for the platform of the fixture, and for another one.
    fn pin(&mut self, reference: &str, digest: OciDigest) {
        let other = OciDigest::of_content(b"other");
        let platforms = [
            ("linux/amd64".parse().unwrap(), digest.clone()),
            ("linux/s390x".parse().unwrap(), other),
        ];
        let locked = Locked { digest, platforms: platforms.into() };
        self.pins.insert(&reference.parse().unwrap(), locked);
    }

    /// The key of `app`, and its encoded leaves.
    fn look(&self) -> (Digest, Vec<u8>) {
        let tree = Fixture::new(&self.tree);
        assert!(!tree.image("app").broken, "{:?}", tree.said());
        let inputs = Inputs {
            image: tree.image("app"),
            entries: &self.entries,
            flavour: self.flavour,
            epoch: self.epoch,
            pins: &self.pins,
        };
        let name: ImageName = self.parent_name.parse().unwrap();
        let parent = |edge: &Edge| -> Parent<'_> {
            match edge.reference.as_str() {
                "acme/base" => (&name, self.parent),
                _ => (tree.graph.name(edge.parent), Digest::of_content(b"tools")),
            }
        };
        (key(&inputs, &parent), encode(&leaves(&inputs, &parent)))
    }
}

fn file(content: &[u8]) -> EntryKind {
    EntryKind::File { size: content.len() as u64, content: Digest::of_content(content) }
}

/// What is said of the way from the unchanged case to another.
fn reasons(to: &Case) -> Vec<Reason> {
    let (old, new) = (Case::new().look().1, to.look().1);
    difference(&decode(&old).unwrap(), &decode(&new).unwrap(), "images/app/Dockerfile")
}

fn instruction(line: u32) -> Reason {
    Reason::InstructionChanged { path: "images/app/Dockerfile".to_owned(), line }
}

fn setting(name: &str) -> Reason {
    Reason::SettingChanged { name: name.to_owned() }
}

fn option(name: &str) -> Reason {
    Reason::OptionChanged { name: name.to_owned() }
}

fn parents(reference: &str) -> Reason {
    Reason::ParentsChanged { reference: reference.to_owned() }
}

fn argument(name: &str) -> Reason {
    Reason::ArgChanged { name: name.to_owned() }
}

/// Each row of the table of the module page that says yes, and what is said when it changes.
fn mutants() -> Vec<Mutant> {
    [of_the_dockerfile(), of_other_images(), of_the_context()].concat()
}

/// What changes, the case in which it did, and the reasons that it gives.
type Mutant = (&'static str, Case, Vec<Reason>);

fn of_the_dockerfile() -> Vec<Mutant> {
    let text = Case::with_text;
    vec![
        ("flavour", Case::with(|case| case.flavour = Flavour::Buildah), vec![setting("flavour")]),
        (
            "platform",
            text("registry = 'acme'", "registry = 'acme'\nplatform = 'linux/arm64'"),
            vec![parents("busybox:1.36"), parents("busybox:1.36"), setting("platform")],
        ),
        ("target", text("target = 'prod'", "target = 'PROD'"), vec![setting("target")]),
        ("frontend", text("dockerfile:1", "dockerfile:1.7"), vec![setting("frontend")]),
        ("instruction", text("npm make", "npm make all"), vec![instruction(9)]),
        ("instruction added", text("COPY src", "USER app\nCOPY src"), vec![instruction(8)]),
        ("instruction removed", text("COPY src /src\n", ""), vec![instruction(8)]),
        ("white space of RUN", text("npm make", "npm make  #"), vec![instruction(9)]),
        ("argument", text("'info'", "'debug'"), vec![argument("LEVEL")]),
        ("argument gone", text("LEVEL = 'info', ", ""), vec![argument("LEVEL")]),
        (
            "predefined argument that is declared",
            text("ARG LEVEL", "ARG LEVEL\nARG HTTP_PROXY"),
            vec![instruction(4), argument("HTTP_PROXY")],
        ),
        ("label", text("'core'", "'edge'"), vec![option("label team")]),
        (
            "name of a label",
            text("{ team", "{ crew"),
            vec![option("label crew"), option("label team")],
        ),
        ("epoch", Case::with(|case| case.epoch = 1), vec![setting("epoch")]),
        ("network", text(TARGET, &format!("{TARGET}\nnetwork = 'none'")), vec![setting("network")]),
        (
            "another network",
            text(TARGET, &format!("{TARGET}\nnetwork = 'host'")),
            vec![setting("network")],
        ),
        (
            "network of the workspace",
            text("registry = 'acme'", "registry = 'acme'\nnetwork = 'none'\nhosts = ['a:1.2.3.4']"),
            vec![setting("hosts"), setting("network")],
        ),
        (
            "host",
            text(TARGET, &format!("{TARGET}\nhosts = ['db:10.0.0.7']")),
            vec![setting("hosts")],
        ),
        (
            "hosts in another order",
            text(TARGET, &format!("{TARGET}\nhosts = ['db:10.0.0.8', 'db:10.0.0.7']")),
            vec![setting("hosts")],
        ),
        (
            "id of a secret",
            text("secret,id=npm", "secret,id=pypi"),
            vec![instruction(9), option("secret secret npm"), option("secret secret pypi")],
        ),
    ]
}

fn of_other_images() -> Vec<Mutant> {
    let text = Case::with_text;
    let digest = |digit: &str| format!("sha256:{}", digit.repeat(64)).parse::<OciDigest>().unwrap();
    vec![
        (
            "identity of a parent",
            Case::with(|case| case.parent = Digest::of_content(b"another")),
            vec![Reason::ParentChanged { image: "base".parse().unwrap() }],
        ),
        (
            "reference of a parent",
            text("--from=acme/tools", "--from=acme/tools:latest"),
            vec![instruction(5), parents("acme/tools"), parents("acme/tools:latest")],
        ),
        (
            "image from outside",
            text("busybox:1.36", "busybox:1.37"),
            vec![instruction(6), parents("busybox:1.36"), parents("busybox:1.37")],
        ),
        (
            "pin of an image from outside",
            Case::with(|case| case.pin("busybox:1.36", digest("a"))),
            vec![Reason::ExternalMoved {
                reference: "busybox:1.36".to_owned(),
                old: None,
                new: Some(digest("a")),
            }],
        ),
        (
            "URL of ADD",
            text("example.com/x.tar", "example.com/y.tar"),
            vec![
                instruction(7),
                Reason::RemoteChanged { url: "https://example.com/x.tar".to_owned() },
                Reason::RemoteChanged { url: "https://example.com/y.tar".to_owned() },
            ],
        ),
        (
            "checksum of ADD",
            text("ADD https", &format!("ADD --checksum={} https", digest("b"))),
            vec![
                instruction(7),
                Reason::RemoteChanged { url: "https://example.com/x.tar".to_owned() },
            ],
        ),
    ]
}

fn of_the_context() -> Vec<Mutant> {
    let path = |path: &str| path.to_owned();
    vec![
        (
            "content of a file",
            Case::with(|case| case.entries[2].kind = file(b"niam")),
            vec![Reason::FileChanged { path: path("src/main") }],
        ),
        (
            "mode of a file",
            Case::with(|case| case.entries[2].mode = 0o755),
            vec![Reason::ModeChanged { path: path("src/main") }],
        ),
        (
            "mode of a directory",
            Case::with(|case| case.entries[0].mode = 0o700),
            vec![Reason::ModeChanged { path: path("src") }],
        ),
        (
            "extended attributes",
            Case::with(|case| case.entries[2].xattrs = Some(Digest::of_content(b"caps"))),
            vec![Reason::ModeChanged { path: path("src/main") }],
        ),
        (
            "target of a link",
            Case::with(|case| case.entries[1].kind = EntryKind::Symlink(PathBuf::from("other"))),
            vec![Reason::FileChanged { path: path("src/link") }],
        ),
        (
            "type of a file",
            Case::with(|case| case.entries[1].kind = EntryKind::Directory),
            vec![Reason::FileChanged { path: path("src/link") }],
        ),
        (
            "name of a file",
            Case::with(|case| case.entries[2].path = PathBuf::from("src/mine")),
            vec![
                Reason::FileRemoved { path: path("src/main") },
                Reason::FileAdded { path: path("src/mine") },
            ],
        ),
        (
            "file gone",
            Case::with(|case| drop(case.entries.pop())),
            vec![Reason::FileRemoved { path: path("src/main") }],
        ),
    ]
}

#[test]
fn whatever_counts_changes_the_key_and_is_named_and_nothing_else_is() {
    let (unchanged, _) = Case::new().look();
    for (what, case, wanted) in mutants() {
        assert_ne!(case.look().0, unchanged, "{what}");
        assert_eq!(reasons(&case), wanted, "{what}");
    }
}

#[test]
fn no_two_changes_have_the_same_key() {
    let mutants = mutants();
    let keys: BTreeSet<Digest> = mutants.iter().map(|(_, case, _)| case.look().0).collect();
    assert_eq!(keys.len(), mutants.len());
}

#[test]
fn whatever_does_not_count_leaves_the_key_as_it_is() {
    let text = Case::with_text;
    let unchanged = Case::new();
    for (what, case) in [
        ("comment", text("# a comment", "# another comment")),
        ("comment gone", text("# a comment\n", "")),
        ("blank lines", text("ARG LEVEL\n", "\n\nARG LEVEL\n\n")),
        ("case of a keyword", text("COPY src", "copy src")),
        ("continuation", text("COPY src", "COPY \\\nsrc")),
        ("unreachable stage", text("RUN other", "RUN quite another")),
        ("unreachable stage gone", text("FROM acme/base AS other\n    RUN other", "")),
        ("argument that nothing declares", text("'x'", "'y'")),
        ("argument that nothing declares gone", text(", UNUSED = 'x'", "")),
        ("predefined argument that is not declared", text("http://one", "http://two")),
        ("source of a secret", text("env=NPM_TOKEN", "src=/run/secrets/npm")),
        ("quotes around a secret", text("'id=npm,", "'\"id=npm\",")),
        ("tags", text("target = 'prod'", "target = 'prod'\ntags = ['x']")),
        ("version", text("target = 'prod'", "target = 'prod'\nversion = '1.2.3'")),
        ("repository", text("target = 'prod'", "target = 'prod'\nrepository = 'acme/x'")),
        ("context", text("target = 'prod'", "target = 'prod'\ncontext = '//elsewhere'")),
        ("the usual network", text(TARGET, &format!("{TARGET}\nnetwork = 'default'\nhosts = []"))),
        ("cache to read", text(TARGET, &format!("{TARGET}\ncache-from = ['r.example/{{path}}']"))),
        ("cache to write", text(TARGET, &format!("{TARGET}\ncache-to = ['type=inline']"))),
        ("list of contents", text(TARGET, &format!("{TARGET}\nsbom = true"))),
        ("what is allowed", text(TARGET, &format!("{TARGET}\nallow = ['network.host']"))),
        ("provenance", text(TARGET, &format!("{TARGET}\nprovenance = 'max'"))),
        ("layers", text("[image.app]", "[[layer]]\nname = 'all'\ndirs = ['.']\n[image.app]")),
        ("the parent's Dockerfile", text("//- tools/Dockerfile", "RUN x\n//- tools/Dockerfile")),
        ("the parent's name", Case::with(|case| case.parent_name = "renamed")),
        (
            "pin of an image that is not read",
            Case::with(|case| {
                let digest = format!("sha256:{}", "c".repeat(64)).parse().unwrap();
                case.pin("alpine:3", digest);
            }),
        ),
    ] {
        assert_eq!(case.look().0, unchanged.look().0, "{what}");
        assert_eq!(reasons(&case), [], "{what}");
    }
}

#[test]
fn lines_move_without_a_word() {
    let case = Case::with_text("# a comment\n", "# a comment\n# and more\n\n");
    assert_ne!(case.look().1, Case::new().look().1, "the leaves know the lines");
    assert_eq!(reasons(&case), []);
}

#[test]
fn several_changes_are_all_named_files_first() {
    let mut case = Case::with_text("'info'", "'debug'");
    case.entries[2].kind = file(b"new");
    case.epoch = 1;
    case.parent = Digest::of_content(b"another");
    assert_eq!(
        reasons(&case),
        [
            Reason::FileChanged { path: "src/main".to_owned() },
            argument("LEVEL"),
            Reason::ParentChanged { image: "base".parse().unwrap() },
            setting("epoch"),
        ]
    );
}

/// Whoever changes the rules raises [`SCHEMA`] and this key: otherwise all that was built with the
/// old rules would count as built with the new ones.
#[test]
fn the_rules_are_those_of_this_schema() {
    assert_eq!(SCHEMA, 1);
    assert_eq!(
        Case::new().look().0.to_string(),
        "0f01e5ff365e278fab399994e53b606b2e6636130e225c30f91f4c23a154f7d4"
    );
}

#[test]
fn no_value_of_an_argument_a_label_or_a_url_is_kept() {
    let secrets = ["info", "core", "hunter2", "topsecret", "NPM_TOKEN"];
    let case =
        Case::with_text("https://example.com/", "https://me:hunter2@example.com/?t=topsecret&");
    let (_, leaves) = case.look();
    let text = String::from_utf8_lossy(&leaves);
    for secret in secrets {
        assert!(!text.contains(secret), "{secret}");
    }
    assert!(text.contains("https://example.com/"), "what is shown of a URL is its harmless part");
}

#[test]
fn leaves_that_are_unknown_here_are_no_leaves() {
    let (_, leaves) = Case::new().look();
    assert!(decode(&leaves[..leaves.len() / 2]).is_none());
    assert!(decode(&[255; 40]).is_none());
}
