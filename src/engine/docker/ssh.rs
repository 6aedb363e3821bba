//! A daemon behind ssh: the command whose standard input and output are the connection.
//!
//! Sources: docker/cli `cli/connhelper`, moby/buildkit `client/connhelper/ssh`. The words after the
//! host are run by a shell over there, so a path is quoted for it; names with anything in them that
//! a shell would look at are refused, because `ssh_config` may put them into commands here.

use crate::engine::docker::address::Address;

/// `ssh` to the host of an address, running `remote` there.
pub fn command(address: &Address, remote: &[String]) -> Result<Vec<String>, String> {
    if !address.query.is_empty() {
        return Err("it has a query (`?`)".to_owned());
    }
    let host = plain("host", &address.host)?;
    // No terminal, and a host that is gone is noticed: as docker does (`addSSHTimeout`).
    let mut command = words(&["ssh", "-o", "ConnectTimeout=30", "-T"]);
    if let Some(user) = &address.user {
        command.extend(words(&["-l", plain("user", user)?]));
    }
    if let Some(port) = address.port {
        command.extend(["-p".to_owned(), port.to_string()]);
    }
    command.extend(words(&["--", host]));
    command.extend(remote.iter().map(|word| quoted(word)));
    Ok(command)
}

/// Owned words of a command.
pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A word of a command line that neither a shell nor the program takes for anything else.
pub fn plain<'a>(what: &str, word: &'a str) -> Result<&'a str, String> {
    match word {
        "" => Err(format!("it names no {what}")),
        word if word.starts_with('-') || !is_plain(word) => {
            Err(format!("`{word}` is no name of a {what}"))
        }
        word => Ok(word),
    }
}

fn is_plain(word: &str) -> bool {
    let is_safe = |c: char| c.is_alphanumeric() || "@%+:,./-_".contains(c);
    !word.is_empty() && word.chars().all(is_safe)
}

fn quoted(word: &str) -> String {
    if is_plain(&word.replace('=', "")) {
        return word.to_owned(); // `a=b` would be an assignment in the first place only
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(address: &str, remote: &[&str]) -> Result<String, String> {
        Ok(command(&Address::parse(address).unwrap(), &words(remote))?.join(" "))
    }

    #[test]
    fn user_and_port_are_passed_on() {
        assert_eq!(
            shown("me@host:2222", &["docker", "--host=unix:///run/d.sock"]).unwrap(),
            "ssh -o ConnectTimeout=30 -T -l me -p 2222 -- host docker --host=unix:///run/d.sock"
        );
    }

    #[test]
    fn the_shell_over_there_gets_a_path_in_quotes() {
        assert!(shown("host", &["a b"]).unwrap().ends_with("host 'a b'"));
        assert!(shown("host", &["it's"]).unwrap().ends_with(r"host 'it'\''s'"));
        assert!(shown("host", &["$(reboot)"]).unwrap().ends_with("host '$(reboot)'"));
    }

    #[test]
    fn names_that_a_shell_would_look_at_are_refused() {
        assert_eq!(shown("", &[]).unwrap_err(), "it names no host");
        assert_eq!(shown("$(x)", &[]).unwrap_err(), "`$(x)` is no name of a host");
        assert_eq!(shown("-oProxyCommand=x", &[]).unwrap_err().split('`').count(), 3);
        assert_eq!(shown("a;b@host", &[]).unwrap_err(), "`a;b` is no name of a user");
        assert_eq!(shown("host?x=y", &[]).unwrap_err(), "it has a query (`?`)");
    }
}
