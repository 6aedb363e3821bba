//! Rules of stages, arguments and sources, each with its place in BuildKit's `dockerfile2llb`.

use super::*;
use crate::dockerfile::{parse, problem};

/// What one target reads, and the codes of what is wrong.
struct Case<'a> {
    target: Option<&'a str>,
    args: &'a [(&'a str, &'a str)],
    platform: &'a str,
    flavour: Flavour,
    triggers: &'a [&'a str],
    base: Option<BaseConfig>,
}

impl Default for Case<'_> {
    fn default() -> Self {
        Self {
            target: None,
            args: &[],
            platform: "linux/amd64",
            flavour: Flavour::BuildKit,
            triggers: &[],
            base: Some(BaseConfig::empty()),
        }
    }
}

impl Case<'_> {
    fn read(&self, text: &str) -> (Reads, Vec<&'static str>) {
        let (dockerfile, found) = parse(text.as_bytes());
        assert_eq!(found, [], "{text}");
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let request = Request {
            target: self.target,
            args: &self.args.iter().map(own).collect(),
            platform: &self.platform.parse().unwrap(),
            build_platform: &"linux/amd64".parse().unwrap(),
            flavour: self.flavour,
            onbuild: &|_| self.triggers.iter().map(|trigger| (*trigger).to_owned()).collect(),
        };
        let (reads, found) = resolve_with(&dockerfile, &request, &|_| self.base.clone());
        for problem in &found {
            let span = problem.place.as_ref().and_then(|place| place.span).unwrap();
            assert!(text.get(span.range()).is_some(), "{problem:?}");
            assert!(problem.help.is_some(), "{problem:?}");
        }
        (reads, found.iter().map(|problem| problem.code).collect())
    }

    fn good(&self, text: &str) -> Reads {
        let (reads, found) = self.read(text);
        assert_eq!(found, [""; 0], "{text}");
        reads
    }
}

fn good(text: &str) -> Reads {
    Case::default().good(text)
}

fn wrong(text: &str) -> Vec<&'static str> {
    Case::default().read(text).1
}

fn images(reads: &Reads) -> Vec<String> {
    let image =
        |image: &ImageUse| format!("{:?} {} {}", image.kind, image.reference, image.platform);
    reads.images.iter().map(image).collect()
}

fn sources(reads: &Reads) -> Vec<&str> {
    reads.context.iter().map(|read| read.source.as_str()).collect()
}

fn steps(reads: &Reads) -> Vec<&str> {
    reads.steps.iter().map(|step| step.text.as_str()).collect()
}

/// `dispatchStates.addState`: FROM asks by exact name, of the stages above; names are lower case.
#[test]
fn from_takes_a_stage_above_or_an_image() {
    let reads = good("FROM one AS A\nFROM a\nRUN x\n");
    assert_eq!(images(&reads), ["From one linux/amd64"]);
    assert_eq!(steps(&reads), ["FROM one AS a", "FROM a", "RUN x"]);
    assert_eq!(images(&good("FROM b\nFROM two AS b\nFROM b")), ["From two linux/amd64"]);
    assert_eq!(images(&good("FROM one AS b\nFROM two AS b\nFROM b")), ["From two linux/amd64"]);
    assert_eq!(wrong("FROM one AS base\nFROM Base"), [problem::BASE]);
    assert_eq!(images(&good("FROM scratch")), [""; 0]);
    assert_eq!(wrong("FROM Scratch"), [problem::BASE], "scratch is literal");
}

/// `toCommand`, `findStateByIndex`: numbers are stages only in `COPY --from`.
#[test]
fn copy_takes_a_stage_by_name_or_number_or_an_image() {
    let text =
        "FROM one AS a\nFROM two\nCOPY --from=A x y\nCOPY --from=0 x y\nCOPY --from=three x y";
    let expected = ["From one linux/amd64", "From two linux/amd64", "Copy three linux/amd64"];
    assert_eq!(images(&good(text)), expected);
    assert_eq!(images(&good("FROM 0\nRUN --mount=from=0,target=/x x")).len(), 2);
    assert_eq!(wrong("FROM one\nCOPY --from=1 x y"), [problem::COPY_FROM]);
    assert_eq!(wrong("FROM one AS a\nCOPY --from=$A x y"), [problem::COPY_FROM]);
    assert_eq!(images(&good("FROM one\nCOPY --from=scratch x y")), ["From one linux/amd64"]);
}

/// `detectRunMount`, `dispatchRunMounts`.
#[test]
fn mounts_read_stages_images_and_the_context() {
    let text = "FROM one AS a\nFROM two\nRUN --mount=from=a,target=/a --mount=type=cache,from=three,target=/b \
                --mount=target=/c --mount=source=/s/../t/,target=/d --mount=type=tmpfs,from=four,target=/e \
                --mount=type=secret,id=npm --mount=type=ssh x";
    let reads = good(text);
    let expected = ["From one linux/amd64", "From two linux/amd64", "Mount three linux/amd64"];
    assert_eq!(images(&reads), expected, "tmpfs reads nothing");
    assert_eq!(sources(&reads), ["/", "/t"]);
    assert_eq!(reads.secrets, ["secret npm", "ssh default"]);
    for bad in [
        "type=bnd,target=/x",
        "target",
        "typ=bind,target=/x",
        "type=bind,size=1m,target=/x",
        "type=tmpfs,size=x,target=/x",
        "type=bind,uid=1,target=/x",
        "sharing=locked,target=/x",
        "type=secret",
        "type=secret,id=a,source=b",
        "type=ssh,source=a",
        "target=/",
        "type=cache",
        "type=cache,sharing=some,target=/x",
        "type=cache,mode=9,target=/x",
        "ro=maybe,target=/x",
    ] {
        assert_eq!(wrong(&format!("FROM one\nRUN --mount={bad} x")), [problem::MOUNT], "{bad}");
    }
    assert_eq!(
        wrong("FROM one\nWORKDIR /w\nRUN --mount=source=a x"),
        [""; 0],
        "relative to WORKDIR"
    );
    let unknown = Case { base: None, ..Case::default() };
    assert_eq!(
        unknown.read("FROM one\nRUN --mount=source=a x").1,
        [""; 0],
        "the base may have one"
    );
}

/// `validateCircularDependency`; "it needs to be defined before current stage".
#[test]
fn stages_need_only_those_above() {
    assert_eq!(
        wrong("FROM a AS a\nCOPY --from=b x y\nFROM b AS b\nCOPY --from=a x y")[0],
        problem::STAGE_ORDER
    );
    assert_eq!(wrong("FROM x AS a\nCOPY --from=a x y"), [problem::STAGE_ORDER; 2]);
    assert_eq!(
        wrong("FROM x AS a\nRUN --mount=from=b,target=/b x\nFROM y AS b\nFROM a"),
        [problem::STAGE_ORDER]
    );
    assert_eq!(wrong("FROM x AS a\nCOPY --from=b x y\nFROM y AS b"), [""; 0], "not reached");
}

/// `resolveReachableStages`: what is not reached is not read, but its references are checked.
#[test]
fn unreachable_stages_are_checked_and_not_read() {
    let text = "FROM one AS a\nCOPY . /\nRUN $X\nFROM two AS b\nCOPY b /\n";
    let reads = good(text);
    assert_eq!((images(&reads).len(), sources(&reads)), (1, vec!["/b"]));
    assert_eq!(reads.stage_names, ["a", "b"]);
    let target = Case { target: Some("A"), ..Case::default() };
    assert_eq!(sources(&target.good(text)), ["/"], "a target by name, in any case");
    let numeric = Case { target: Some("0"), ..Case::default() };
    assert_eq!(numeric.read(text).1, [problem::TARGET]);
    assert_eq!(wrong("FROM UPPER AS a\nFROM two"), [problem::BASE]);
    assert_eq!(wrong("ARG E\nFROM $E AS a\nFROM two"), [problem::BASE]);
    assert_eq!(
        wrong("FROM a:b:c AS a\nCOPY --from=9 x y\nFROM two"),
        [problem::BASE, problem::COPY_FROM]
    );
}

/// `buildMetaArgs`: the scope before the first FROM.
#[test]
fn global_arguments_are_for_from_and_for_bare_arg() {
    let text = "ARG R=reg/ T=1\nARG I=${R}img\nFROM --platform=$BUILDPLATFORM $I:$T AS a\nARG T\nCOPY $T$R /\n";
    let reads = good(text);
    assert_eq!(images(&reads), ["From reg/img:1 linux/amd64"]);
    assert_eq!(sources(&reads), ["/1"], "R is not declared in the stage");
    let args: Vec<_> = reads.args.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(args, ["BUILDPLATFORM=linux/amd64", "I=reg/img", "R=reg/", "T=1"]);
    let given = Case { args: &[("T", "2"), ("X", "3"), ("http_proxy", "p")], ..Case::default() };
    let reads = given.good(text);
    assert_eq!(images(&reads), ["From reg/img:2 linux/amd64"]);
    assert_eq!(reads.unused_args, ["X"]);
    assert!(!reads.args.contains_key("http_proxy"));
    let arm = Case { platform: "linux/arm64", ..Case::default() };
    let reads = arm.good("FROM x:$TARGETARCH\nARG TARGETARCH\nCOPY $TARGETARCH$TARGETOS /");
    assert_eq!(
        (images(&reads), sources(&reads)),
        (vec!["From x:arm64 linux/arm64".into()], vec!["/arm64"])
    );
    assert_eq!(reads.args.into_iter().collect::<Vec<_>>(), [("TARGETARCH".into(), "arm64".into())]);
}

/// `dispatchArg`, `dispatchEnv`, `init`.
#[test]
fn the_later_of_arg_and_env_wins_and_children_inherit() {
    let one = |text: &str| sources(&good(&format!("FROM x AS p\n{text}"))).join(" ");
    assert_eq!(one("ENV X=e\nARG X=a\nCOPY $X /"), "/a");
    assert_eq!(one("ARG X=a\nENV X=e\nCOPY $X /"), "/e");
    assert_eq!(
        one("ENV a=1 b=$a\nCOPY x$b /"),
        "/x",
        "a word sees what was set before its instruction"
    );
    assert_eq!(one("ARG a=1 b=$a\nCOPY x$b /"), "/x1", "but ARG goes from word to word");
    assert_eq!(one("ARG X=a\nFROM p\nCOPY $X /"), "/a");
    assert_eq!(
        one("ENV X=e\nARG X=a\nFROM p\nCOPY $X /"),
        "/e",
        "a child begins with the configuration"
    );
    assert_eq!(one("ARG X=a\nFROM y\nCOPY x$X /"), "/x", "a sibling inherits nothing");
    let buildah = Case { flavour: Flavour::Buildah, ..Case::default() };
    assert_eq!(sources(&buildah.good("FROM x\nENV X=e\nARG X=a\nCOPY $X /")), ["/e"]);
    let given = Case { args: &[("X", "g")], ..Case::default() };
    assert_eq!(sources(&given.good("FROM x\nARG X=a\nCOPY $X /")), ["/g"]);
    assert_eq!(
        sources(&given.good("ARG X=g\nFROM x\nCOPY y$X /")),
        ["/y"],
        "not declared in the stage"
    );
    assert_eq!(
        sources(&given.good("FROM x\nARG X=${Y?}\nCOPY $X /")),
        ["/g"],
        "a default that is not used"
    );
}

/// The configuration of the base gives variables; where it is not known, that is said.
#[test]
fn variables_of_the_base_choose_what_is_read() {
    let env = vec![("X".to_owned(), "b".to_owned())];
    let known = Case { base: Some(BaseConfig { env, ..BaseConfig::empty() }), ..Case::default() };
    let reads = known.good("FROM x\nENV Y=$X\nCOPY $X /");
    assert_eq!(sources(&reads), ["/b"]);
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let env = [("PATH", path), ("X", "b"), ("Y", "b")];
    assert_eq!(reads.env, env.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let unknown = Case { base: None, ..Case::default() };
    assert_eq!(unknown.read("FROM x\nCOPY a$X /").1, [problem::UNKNOWN_NAME]);
    assert_eq!(
        unknown.read("FROM x\nRUN --mount=source=$X,target=/x y").1,
        [problem::UNKNOWN_NAME]
    );
    assert_eq!(
        unknown.read("FROM x\nARG X\nCOPY a$X /").1,
        [""; 0],
        "declared, and empty on purpose"
    );
    assert_eq!(unknown.read("FROM scratch\nCOPY a$X /").1, [""; 0], "scratch sets nothing");
}

/// Where stages disagree about an argument, the value that no step tells is the one that counts.
#[test]
fn arguments_hold_the_values_that_the_text_does_not() {
    let text = |global: &str| {
        format!("ARG X={global}\nFROM a AS s\nARG X\nFROM b\nARG X=2\nCOPY --from=s x y")
    };
    assert_ne!(good(&text("1")).args, good(&text("3")).args);
    let epoch = Case {
        args: &[("SOURCE_DATE_EPOCH", "0"), ("BUILDKIT_INLINE_CACHE", "1")],
        ..Case::default()
    };
    assert_eq!(epoch.good("FROM a").args.len(), 2, "these act undeclared");
    assert_eq!(good("ARG U=1\nFROM a").args.len(), 0, "nothing uses it");
}

/// `convert_copy.go`: where sources lead.
#[test]
fn sources_are_cleaned_and_stay_in_the_context() {
    let one = |words: &str| {
        let reads = good(&format!("FROM a\nWORKDIR /w\nCOPY {words}"));
        sources(&reads).join(" ")
    };
    assert_eq!(one("a ./b/ /c//d/../e /x"), "/a /b /c/e");
    assert_eq!(one("../../a .. . / /x"), "/a / / /");
    assert_eq!(one("a*[b-c]? d\\*e 'd\\*e' /x"), "/a*[b-c]? /d*e /d\\*e", "quotes keep escapes");
    assert_eq!(one("[\"a b\", \"/x\"]"), "/a b");
    assert_eq!(one("$NO /x"), "/", "nothing is everything");
    assert_eq!(one("<<A b /x\nCOPY c /\nA\n"), "/b");
    assert_eq!(one("-- --from=x /d"), "/--from=x");
}

/// `convert_copy.go`: `--parents`, `--exclude`, `--unpack`.
#[test]
fn flags_narrow_what_is_read() {
    let reads = good("FROM a\nCOPY --parents --exclude=*.md --exclude=$X x/./y/*.c a/b ./d/ /x");
    let narrow =
        |read: &ContextRead| (read.source.clone(), read.include.concat(), read.require.concat());
    let narrow: Vec<_> = reads.context.iter().map(narrow).collect();
    let own = |s: &str, i: &str, r: &str| (s.to_owned(), i.to_owned(), r.to_owned());
    assert_eq!(narrow, [own("/x", "y/*.c", ""), own("/", "a/b", "/a/b"), own("/", "d", "/d")]);
    assert_eq!(reads.context[0].exclude, ["*.md", "$X"], "not expanded");
    let unpack = |text: &str| good(&format!("FROM a\n{text} a /x")).context[0].unpack;
    assert_eq!(["COPY", "ADD", "ADD --unpack=false"].map(unpack), [false, true, false]);
}

/// `util/system/path.go`: on Windows paths have backslashes and may begin with C:.
#[test]
fn windows_has_paths_of_its_own() {
    let windows = Case { platform: "windows/amd64", ..Case::default() };
    let reads = windows.good("# escape=`\nFROM a\nCOPY b\\c C:\\d\\ C:\\x\\\n");
    assert_eq!(sources(&reads), ["/b/c", "/d"]);
    assert_eq!(steps(&reads)[0], "# escape=`");
    for bad in ["COPY D:\\a \\x", "COPY a D:\\x", "COPY \\\\m\\s \\x", "WORKDIR C:"] {
        assert_eq!(
            windows.read(&format!("# escape=`\nFROM a\n{bad}")).1,
            [problem::SOURCE],
            "{bad}"
        );
    }
}

/// `convert_copy.go`, `dfgitutil/git_ref.go`.
#[test]
fn add_fetches_urls_and_repositories() {
    let sum = format!("sha256:{}", "0".repeat(64));
    let text = format!(
        "FROM a\nADD --checksum={sum} https://h/x /x\nADD git@h:r#v1 local https://h/r.git?ref=v2 https://h/o/r /x"
    );
    let reads = good(&text);
    let urls: Vec<_> = reads.remotes.iter().map(|remote| remote.url.as_str()).collect();
    assert_eq!(urls, ["https://h/x", "git@h:r#v1", "https://h/r.git?ref=v2", "https://h/o/r"]);
    assert_eq!(reads.remotes[0].checksum.as_deref(), Some(sum.as_str()));
    assert_eq!(sources(&reads), ["/local"]);
    for bad in [
        "COPY https://h/x /x",
        "COPY git@h:r /x",
        "ADD https://h/r.git?no=1 /x",
        "ADD --checksum=x a /x",
        "ADD --checksum=x git://h/a git://h/b /x",
        "ADD --keep-git-dir git://h/r?keep-git-dir=0 /x",
        "ADD github.com/o/r?x=1 /x",
        "ADD https://h/r.git?tag=a&branch=b /x",
        "ADD git://h/r?ref=a#b /x",
    ] {
        assert_eq!(wrong(&format!("FROM a\n{bad}")), [problem::SOURCE], "{bad}");
    }
    assert_eq!(wrong("FROM a\nADD --checksum=sha256:0 https://h/x /x"), [problem::VALUE]);
}

/// `initOnBuildTriggers`: triggers of the base run first, and name stages and images of their own.
#[test]
fn triggers_of_the_base_run_in_the_child() {
    let triggers = &["COPY --from=tools a /a", "COPY src /src", "RUN --mount=from=s,target=/s x"];
    let case = Case { triggers, ..Case::default() };
    let reads = case.good("FROM scratch AS s\nCOPY s /\nFROM a\nRUN y");
    assert_eq!(images(&reads), ["From a linux/amd64", "Onbuild tools linux/amd64"]);
    assert_eq!(sources(&reads), ["/s", "/src"]);
    assert_eq!(steps(&reads)[2..4], ["FROM a", "COPY --from=tools a /a"]);
    assert_eq!(reads.onbuild, [""; 0], "they do not go on");

    let text = "FROM one AS p\nONBUILD COPY <<E b /x\nc\nE\nONBUILD RUN x\nFROM p\nONBUILD RUN y\n";
    let reads = good(text);
    assert_eq!(sources(&reads), ["/b"]);
    assert_eq!(reads.onbuild, ["RUN y"], "only those of the target itself");
    for bad in ["FROM x", "NOSUCH", "COPY a", "RUN x\nRUN y", "", "COPY --from=9 a /b"] {
        let case = Case { triggers: &[bad], ..Case::default() };
        let code = if bad.contains('9') { problem::COPY_FROM } else { problem::ONBUILD };
        assert_eq!(case.read("FROM a").1, [code], "{bad}");
    }
}

/// `platforms.Parse` of containerd; an empty platform is an error.
#[test]
fn from_may_name_a_platform() {
    let platform = |text: &str| {
        let (reads, found) = Case::default().read(&format!("FROM --platform={text} a"));
        if found.is_empty() { reads.images[0].platform.to_string() } else { found.join(" ") }
    };
    assert_eq!(platform("linux/arm/v7"), "linux/arm/v7");
    assert_eq!(platform("$BUILDPLATFORM"), "linux/amd64");
    assert_eq!(platform("arm64"), "linux/arm64");
    assert_eq!(platform("windows"), "windows/amd64");
    for bad in ["$NO", "nothing", "a/b/c/d", "linux/", "*"] {
        assert_eq!(platform(bad), problem::PLATFORM, "{bad}");
    }
    let reads =
        good("FROM --platform=linux/arm64 a AS b\nFROM a\nCOPY --from=b x y\nCOPY --from=c x y");
    let expected = ["From a linux/arm64", "From a linux/amd64", "Copy c linux/amd64"];
    assert_eq!(images(&reads), expected, "the same image for two platforms is two");
}

/// `strconv.ParseUint`, `mode.Parse`, `signal.ParseSignal`, `parsePorts`.
#[test]
fn values_are_checked_when_they_are_known() {
    for good in [
        "COPY --chmod=u=rwX,go-w a /b",
        "COPY --chmod=7777 a /b",
        "STOPSIGNAL SIGRTMIN+3",
        "STOPSIGNAL kill",
        "EXPOSE 80 1-3/UDP [::1]:80:80 $NO",
        "EXPOSE 127.0.0.1:1-2:3/tcp",
        "VOLUME $V/x",
        "USER $NO",
    ] {
        assert_eq!(wrong(&format!("FROM a\n{good}")), [""; 0], "{good}");
    }
    for bad in [
        "COPY --chmod=10000 a /b",
        "COPY --chmod=64a a /b",
        "COPY --chmod=u~x a /b",
        "STOPSIGNAL 0",
        "STOPSIGNAL SIGNO",
        "EXPOSE x",
        "EXPOSE 70000",
        "EXPOSE 3-1",
        "EXPOSE 80/http",
        "EXPOSE 1-2:1-3",
        "VOLUME $NO",
        "EXPOSE 1.2.3:80:80",
    ] {
        assert_eq!(wrong(&format!("FROM a\n{bad}")), [problem::VALUE], "{bad}");
    }
    for bad in ["LABEL a='", "ENV a=\"", "COPY ${X^} /y", "COPY <<E /x\n${X\nE\n", "USER ${X?}"] {
        assert_eq!(wrong(&format!("FROM a\n{bad}")), [problem::EXPANSION], "{bad}");
    }
}

/// `epoch.go`, `linter.ParseLintOptions`.
#[test]
fn settings_are_checked_before_all_else() {
    let epoch = |value: &str| {
        let args: &[(&str, &str)] = &[("SOURCE_DATE_EPOCH", value)];
        let case = Case { args, ..Case::default() };
        case.read("FROM scratch AS good\nADD https://h/x /\nFROM a AS bad\nFROM b").1
    };
    for value in ["", "0", "-1", "context", "GOOD"] {
        assert_eq!(epoch(value), [""; 0], "{value}");
    }
    assert_eq!((epoch("bad"), epoch("x")), (vec![problem::EPOCH], vec![problem::EPOCH]));
    assert_eq!(wrong("# check=skip=all;error=true\nFROM a"), [""; 0]);
    assert_eq!(wrong("# check=skip\nFROM a"), [problem::DIRECTIVE]);
}

#[test]
fn comments_blank_lines_and_unused_stages_change_nothing() {
    let plain = good("FROM a AS b\nENV X=1\nFROM c\nRUN x  y\nCOPY --from=b d /e\n");
    let dressed = good(
        "# c\n\nfrom a as B\nEnv \\\n # c\n X=1\nFROM unused AS u\nCOPY . /\nFROM c\n\nrun x  y\ncopy --from=b   d /e\n",
    );
    assert_eq!(steps(&plain), steps(&dressed));
    assert_eq!((images(&plain), plain.args), (images(&dressed), dressed.args));
}

#[test]
fn the_user_is_the_last_one_of_the_chain() {
    assert_eq!(good("FROM a AS b\nUSER one\nFROM b\nRUN x").user.as_deref(), Some("one"));
    assert_eq!(good("FROM a AS b\nUSER one\nFROM c\nRUN x").user, None);
    assert_eq!(good("FROM a\nARG U=u1\nUSER $U").user.as_deref(), Some("u1"));
}

#[test]
fn the_frontend_may_come_from_outside() {
    assert_eq!(good("# syntax=d/d:1\nFROM a").frontend.as_deref(), Some("d/d:1"));
    let given = Case { args: &[("BUILDKIT_SYNTAX", "x")], ..Case::default() };
    let reads = given.good("# syntax=d/d:1\nFROM a");
    assert_eq!((reads.frontend.as_deref(), reads.unused_args.len()), (Some("x"), 0));
}
