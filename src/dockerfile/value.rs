//! Small grammars of values: truth, sizes, numbers, durations, modes, ports, signals.
//!
//! Each follows the Go function that BuildKit calls; each only says whether a value is one, for what
//! the value means has no bearing on what is read.

use std::net::IpAddr;

/// `strconv.ParseBool`.
pub(crate) fn truth(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// `strconv.ParseUint(value, radix, 32)`.
pub(crate) fn is_unsigned(value: &str, radix: u32) -> bool {
    value.chars().all(|c| c.is_digit(radix)) && u32::from_str_radix(value, radix).is_ok()
}

/// `strconv.ParseInt(value, 10, 64)`.
pub(crate) fn integer(value: &str) -> Option<i64> {
    let digits = value.strip_prefix(['+', '-']).unwrap_or(value);
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    value.parse().ok()
}

/// `units.RAMInBytes` of docker/go-units: `64m`, `1.5 GiB`.
pub(crate) fn is_size(value: &str) -> bool {
    let Some(last) = value.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ') else {
        return false;
    };
    let (number, suffix) = value.split_at(last + 1);
    let number = number.strip_suffix(' ').unwrap_or(number);
    let suffix = suffix.to_ascii_lowercase();
    let known = match suffix.as_bytes() {
        [] | [b'b'] => true,
        [unit] | [unit, b'b'] | [unit, b'i', b'b'] => b"kmgtp".contains(unit),
        _ => false,
    };
    known && number.parse::<f64>().is_ok_and(|number| number >= 0.0)
}

/// `time.ParseDuration`, in nanoseconds: `30s`, `1h15m`, `.5s`.
pub(crate) fn duration(value: &str) -> Option<f64> {
    let (sign, mut rest) = match value.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, value.strip_prefix('+').unwrap_or(value)),
    };
    if rest == "0" {
        return Some(0.0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let scale = match unit {
            "ns" => 1.0,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * scale;
        rest = after;
    }
    // More than 292 years do not fit.
    (total < 9.3e18).then_some(sign * total)
}

/// The mode of `--chmod`: octal up to 7777, or symbolic as chmod(1) has it.
pub(crate) fn is_mode(value: &str) -> bool {
    if value.bytes().all(|byte| (b'0'..=b'7').contains(&byte)) {
        return u32::from_str_radix(value, 8).is_ok_and(|mode| mode <= 0o7777);
    }
    value.split(',').all(is_symbolic_clause)
}

/// `ugoa`s, then one or more of `+-=` with permissions behind each.
fn is_symbolic_clause(clause: &str) -> bool {
    let actions = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    let permissions = |c: char| "rwxXstugo+-=".contains(c);
    actions.starts_with(['+', '-', '=']) && actions.chars().all(permissions)
}

/// A port of EXPOSE: `[[ip:]host:]port[-port][/protocol]`.
pub(crate) fn is_port(value: &str) -> bool {
    let mut parts: Vec<&str> = value.split(':').collect();
    let container = parts.pop().unwrap_or_default();
    let host = parts.pop().unwrap_or_default();
    let address = parts.join(":");
    let (ports, protocol) = container.split_once('/').unwrap_or((container, ""));
    let known = ["", "tcp", "udp", "sctp"].contains(&protocol.to_ascii_lowercase().as_str());
    let Some(range) = port_range(ports) else { return false };
    let host_fits = host.is_empty()
        || port_range(host)
            .is_some_and(|host| range.0 == range.1 || host.1 - host.0 == range.1 - range.0);
    known && host_fits && is_address(&address)
}

fn is_address(address: &str) -> bool {
    let bare = address.strip_prefix('[').and_then(|address| address.strip_suffix(']'));
    address.is_empty() || bare.unwrap_or(address).parse::<IpAddr>().is_ok()
}

fn port_range(ports: &str) -> Option<(i64, i64)> {
    let port = |text: &str| integer(text).filter(|port| (0..=65_535).contains(port));
    let (start, end) = ports.split_once('-').unwrap_or((ports, ports));
    let range = (port(start)?, port(end)?);
    (range.0 <= range.1).then_some(range)
}

/// The signal of STOPSIGNAL: a number but zero, or a name of Linux, with or without `SIG`
/// (`signal.ParseSignal` of moby/sys).
pub(crate) fn is_signal(value: &str) -> bool {
    const NAMES: [&str; 36] = [
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT",
        "KILL", "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM",
        "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
        "RTMIN", "RTMAX",
    ];
    if let Some(number) = integer(value) {
        return number != 0;
    }
    let name = value.to_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if NAMES.contains(&name) {
        return true;
    }
    let offset = |prefix: &str, most: i64| {
        let number = name.strip_prefix(prefix).filter(|digits| !digits.starts_with('0'));
        number.and_then(integer).is_some_and(|number| (1..=most).contains(&number))
    };
    offset("RTMIN+", 15) || offset("RTMAX-", 14)
}
