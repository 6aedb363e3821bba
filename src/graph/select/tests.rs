use super::*;
use crate::graph::fixture::Fixture;

const TREE: &str = "//- layers.toml
    [[layer]]
    name = 'base'
    dirs = ['base']
    [[layer]]
    name = 'java'
    dirs = ['java']
    [[layer]]
    name = 'apps'
    dirs = ['apps']
    //- base/Dockerfile
    FROM scratch
    //- java/jre/Dockerfile
    FROM base
    //- java/jdk/Dockerfile
    FROM java/jre
    //- apps/api/Dockerfile
    FROM java/jre
    //- apps/web/Dockerfile
    FROM java/jdk
    //- apps/web/debug/Dockerfile
    FROM apps/web";

fn selected(selectors: &str) -> String {
    let tree = Fixture::new(TREE);
    let selectors: Vec<String> = selectors.split_whitespace().map(str::to_owned).collect();
    match select(&tree.graph, &tree.layers, &selectors) {
        Ok(images) => tree.names(&images).join(" "),
        Err(error) => error.to_string(),
    }
}

/// Every row of the table at the top of `select.rs`.
#[test]
fn each_selector_means_what_the_table_says() {
    let rows = [
        ("java/jre", "java/jre"),
        ("apps/*", "apps/api apps/web"),
        ("apps/**", "apps/api apps/web apps/web/debug"),
        ("**/api", "apps/api"),
        ("{base,java/jdk}", "base java/jdk"),
        ("./images/java/**", "java/jdk java/jre"),
        ("./images/java/jdk", "java/jdk"),
        ("./images/java/jdk/", "java/jdk"),
        ("layer:java", "java/jdk java/jre"),
        ("...java/jdk", "apps/web apps/web/debug java/jdk"),
        ("java/jdk...", "base java/jdk java/jre"),
        ("...java/jdk...", "apps/web apps/web/debug base java/jdk java/jre"),
        ("...^java/jdk", "apps/web apps/web/debug"),
        ("java/jdk^...", "base java/jre"),
        ("...layer:java", "apps/api apps/web apps/web/debug java/jdk java/jre"),
        ("base !base", ""),
    ];
    for (selector, images) in rows {
        assert_eq!(selected(selector), images, "{selector}");
    }
}

#[test]
fn nothing_selects_everything() {
    assert_eq!(selected(""), "apps/api apps/web apps/web/debug base java/jdk java/jre");
}

#[test]
fn several_selectors_are_a_union() {
    assert_eq!(selected("base apps/api"), "apps/api base");
}

#[test]
fn what_is_taken_away_is_taken_away_from_all_wherever_it_stands() {
    assert_eq!(selected("!apps/api apps/*"), "apps/web");
    assert_eq!(selected("...base !layer:java !base"), "apps/api apps/web apps/web/debug");
}

#[test]
fn only_taking_away_means_all_but_those() {
    assert_eq!(selected("!apps/** !base"), "java/jdk java/jre");
}

#[test]
fn an_unknown_name_is_an_error_with_the_name_that_was_meant() {
    assert_eq!(selected("java/jdx"), "no image is called `java/jdx`; did you mean `java/jdk`?");
    assert_eq!(selected("jre"), "no image is called `jre`; did you mean `java/jre`?");
    assert_eq!(selected("zebra"), "no image is called `zebra`");
    assert_eq!(selected("layer:jav"), "no layer is called `jav`; did you mean `java`?");
    assert_eq!(selected("php/*"), "no image is called `php/*`");
    assert_eq!(selected("!zebra"), "no image is called `zebra`");
}

#[test]
fn a_selector_without_a_name_is_an_error() {
    for selector in ["...", "...^", "!", "^..."] {
        assert_eq!(
            selected(selector),
            format!("`{}` selects nothing: a name is missing", selector.trim_start_matches('!'))
        );
    }
}

#[test]
fn a_glob_that_is_none_is_an_error() {
    assert!(selected("apps/[").starts_with("`apps/[` is not a glob: "), "{}", selected("apps/["));
}
