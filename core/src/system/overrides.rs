//! The command line of the image: words `key=value`, values quoted where they hold spaces.

use alloc::string::{String, ToString};

use super::{AfterEnd, BootError, Guest};
use crate::number::{GIB, MIB};
use crate::sched::{Lookout, Then};

/// Words that are for others than the description: the machine's own.
const OTHERS: [&str; 1] = ["host."];

/// Applies every `guest.NAME.KEY=VALUE` to the guests.
pub(super) fn apply(
    guests: &mut [Guest],
    lookout: &mut Lookout,
    command_line: &str,
) -> Result<(), BootError> {
    let mut rest = command_line;
    while let Some((word, after)) = next_word(rest)? {
        rest = after;
        let (key, value) = word.split_once('=').unwrap_or((&word, ""));
        if let Some(option) = key.strip_prefix("host.")
            && let Some(fits) = look_out(lookout, option, value)
        {
            fits.map_err(|expected| BootError::BadValue {
                key: key.to_string(),
                value: value.to_string(),
                expected,
            })?;
            continue;
        }
        if OTHERS.iter().any(|prefix| key.starts_with(prefix)) {
            continue;
        }
        let unknown = || BootError::UnknownOption { key: key.to_string() };
        let (name, option) = key
            .strip_prefix("guest.")
            .and_then(|key| key.rsplit_once('.'))
            .ok_or_else(unknown)?;
        let present = guests.iter().map(|guest| guest.name.clone()).collect();
        let guest = guests.iter_mut().find(|guest| guest.name == name);
        let guest = guest.ok_or_else(|| BootError::UnknownGuest {
            name: name.to_string(),
            present,
        })?;
        let bad = |expected| BootError::BadValue {
            key: key.to_string(),
            value: value.to_string(),
            expected,
        };
        match option {
            "memory" => guest.memory = bytes(value).ok_or_else(|| bad("a size such as 512M or 2G"))?,
            "vcpus" => guest.vcpus = value.parse().map_err(|_| bad("a number of vcpus"))?,
            "event_channels" => {
                guest.event_channels = value.parse().map_err(|_| bad("a number of event channels"))?;
            }
            "weight" => guest.weight = value.parse().map_err(|_| bad("a weight such as 256"))?,
            "cap" => {
                guest.cap = value
                    .parse()
                    .map_err(|_| bad("hundredths of a pcpu, or 0 for no limit"))?
            }
            "on_reboot" => guest.on_reboot = fate(value).ok_or_else(|| bad(FATES))?,
            "on_crash" => guest.on_crash = fate(value).ok_or_else(|| bad(FATES))?,
            "cmdline" => guest.cmdline = value.to_string(),
            _ => return Err(unknown()),
        }
    }
    Ok(())
}

/// What the command line says of how pcpus look after each other, if it is that: what would fit, if this does not.
fn look_out(lookout: &mut Lookout, option: &str, value: &str) -> Option<Result<(), &'static str>> {
    match (option, value) {
        ("watchdog", "off") => lookout.patience_ns = None,
        ("watchdog", seconds) => {
            let seconds = seconds.parse::<u64>().ok().filter(|seconds| *seconds > 0);
            let Some(ns) = seconds.and_then(|seconds| seconds.checked_mul(1_000_000_000)) else {
                return Some(Err("seconds, or off"));
            };
            lookout.patience_ns = Some(ns);
        }
        ("on_stuck", "fail") => lookout.then = Then::Fail,
        ("on_stuck", "report") => lookout.then = Then::Report,
        ("on_stuck", _) => return Some(Err("fail or report")),
        _ => return None,
    }
    Some(Ok(()))
}

/// The first word, without its quotation marks, and what follows it.
fn next_word(from: &str) -> Result<Option<(String, &str)>, BootError> {
    let from = from.trim_start();
    if from.is_empty() {
        return Ok(None);
    }
    let mut word = String::new();
    let mut quoted = None;
    for (at, letter) in from.char_indices() {
        let behind = || from.get(at.saturating_add(letter.len_utf8())..).unwrap_or("");
        match letter {
            '"' if quoted.is_some() => quoted = None,
            '"' => quoted = Some(behind()),
            space if space.is_whitespace() && quoted.is_none() => return Ok(Some((word, behind()))),
            other => word.push(other),
        }
    }
    match quoted {
        Some(rest) => Err(BootError::OpenQuote {
            rest: rest.to_string(),
        }),
        None => Ok(Some((word, ""))),
    }
}

/// What [`fate`] knows.
const FATES: &str = "restart, destroy or preserve";

/// What becomes of a guest.
fn fate(word: &str) -> Option<AfterEnd> {
    match word {
        "restart" => Some(AfterEnd::Restart),
        "destroy" => Some(AfterEnd::Destroy),
        "preserve" => Some(AfterEnd::Preserve),
        _ => None,
    }
}

/// A size in bytes: a number, with K, M or G behind it or nothing.
fn bytes(text: &str) -> Option<u64> {
    let split = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(split)?;
    let scale = match unit {
        "" => 1,
        "K" | "k" | "KiB" => 1024,
        "M" | "m" | "MiB" => MIB,
        "G" | "g" | "GiB" => GIB,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(scale)
}
