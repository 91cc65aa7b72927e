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
    let addresses = console
        .lines()
        .filter_map(|line| line.split_once("backtrace:"))
        .flat_map(|(_, rest)| {
            rest.split_whitespace()
                .filter_map(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok())
        });
    for (depth, address) in addresses.enumerate() {
        // A return address points behind its call, which may be another line or even another function. The first
        // address is that of the fault itself.
        let probe = if depth == 0 {
            address
        } else {
            address.saturating_sub(1)
        };
        let _ = writeln!(text, "{depth:>4}: {address:#x}{}", places(&loader, probe));
    }
    text
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
