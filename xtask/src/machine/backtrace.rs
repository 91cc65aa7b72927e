//! A host's last words with names: the addresses of its `backtrace:` line, looked up in the image's ELF file.

use addr2line::Loader;
use std::fmt::Write as _;
use std::path::Path;

/// The `backtrace:` lines of `console`, each address with the functions and lines it stands for; empty without one.
pub fn symbolise(console: &str, elf: &Path) -> String {
    let mut text = String::new();
    let Ok(loader) = Loader::new(elf) else {
        return text;
    };
    // A return address points behind its call, which may be another line or even another function. The first address
    // of a fault is that of the fault itself; that of a panic is a return address like the others.
    let first_is_exact = console.contains("host fault");
    let mut before = None;
    let mut repeated = 0_usize;
    for (depth, address) in addresses(console).into_iter().enumerate() {
        if before == Some(address) {
            repeated = repeated.saturating_add(1);
            continue;
        }
        tell_repeated(&mut text, &mut repeated);
        before = Some(address);
        let exact = depth == 0 && first_is_exact;
        let probe = if exact { address } else { address.saturating_sub(1) };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{depth:>4}: {address:#x}{}", places(&loader, probe));
    }
    tell_repeated(&mut text, &mut repeated);
    text
}

fn tell_repeated(text: &mut String, repeated: &mut usize) {
    if *repeated > 0 {
        let _ = writeln!(text, "      ... and the same again {repeated} times");
        *repeated = 0;
    }
}

fn addresses(console: &str) -> Vec<u64> {
    let lines = console.lines().filter_map(|line| line.split_once("backtrace:"));
    lines
        .flat_map(|(_, rest)| rest.split_whitespace())
        .filter_map(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok())
        .collect()
}

fn places(loader: &Loader, probe: u64) -> String {
    let mut text = String::new();
    if let Ok(mut frames) = loader.find_frames(probe) {
        while let Ok(Some(frame)) = frames.next() {
            let name = frame
                .function
                .as_ref()
                .and_then(|function| function.demangle().ok());
            let name = name.map_or_else(|| "?".to_owned(), |name| name.into_owned());
            let place = frame
                .location
                .and_then(|place| Some(format!("{}:{}", place.file?, place.line?)));
            let _ = write!(text, "  {name}");
            if let Some(place) = place {
                let _ = write!(text, "\n            at {place}\n       ");
            }
        }
    }
    if text.is_empty() {
        text = format!("  {}", loader.find_symbol(probe).unwrap_or("?"));
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_backtrace_line_holds_addresses() {
        let console = "rip 0x1234\r\nxenvisor: backtrace: 0x20fccd 0x2048eb junk\r\ncr2 0x1\n";
        assert_eq!(addresses(console), [0x20_fccd, 0x20_48eb]);
    }

    #[test]
    fn a_host_without_a_backtrace_has_none() {
        let ourselves = std::env::current_exe().unwrap();
        assert_eq!(symbolise("all is well", &ourselves), "");
    }
}
