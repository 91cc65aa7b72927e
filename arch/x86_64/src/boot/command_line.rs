//! The host's command line, word by word.
//!
//! `key=value` words between blanks; a value may stand in double quotes, in which blanks are ordinary, and a
//! backslash takes the next `"` or `\` as it is. The quotes may also stand around the whole word, as GRUB puts
//! them. A word without `=` is a key with an empty value. What the
//! keys mean is decided elsewhere. Pure: tested on a workstation.

use core::fmt;

use heapless::String;

use super::info::MAX_COMMAND_LINE;

/// One word of the command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting<'a> {
    /// What stands before the `=`.
    pub key: &'a str,
    /// What stands after it, quotes removed.
    pub value: String<MAX_COMMAND_LINE>,
}

/// Why a command line cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandLineError<'a> {
    /// The quotes of this key's value are never closed.
    QuoteLeftOpen(&'a str),
    /// This word begins with `=`.
    NoKey(&'a str),
}

impl fmt::Display for CommandLineError<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QuoteLeftOpen(key) => write!(out, "the quotes of {key}= are never closed"),
            Self::NoKey(word) => write!(out, "no key before the = of {word:?}"),
        }
    }
}

/// The settings of `line`, in order. After an error there are no more.
pub fn settings(line: &str) -> Settings<'_> {
    Settings { rest: line }
}

/// See [`settings`].
#[derive(Clone, Debug)]
pub struct Settings<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Settings<'a> {
    type Item = Result<Setting<'a>, CommandLineError<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let word = self.rest.trim_start();
        if word.is_empty() {
            return None;
        }
        let (word, quoted) = match word.strip_prefix('"') {
            Some(word) => (word, true),
            None => (word, false),
        };
        let key_end = word
            .find(|c: char| c == '=' || c.is_whitespace())
            .unwrap_or(word.len());
        let (key, after) = word.split_at_checked(key_end)?;
        self.rest = after;
        let Some(after) = after.strip_prefix('=') else {
            return Some(Ok(Setting {
                key,
                value: String::new(),
            }));
        };
        if key.is_empty() {
            self.rest = "";
            let end = word.find(char::is_whitespace).unwrap_or(word.len());
            return Some(Err(CommandLineError::NoKey(word.get(..end).unwrap_or(word))));
        }
        let Some((value, rest)) = value(after, quoted) else {
            self.rest = "";
            return Some(Err(CommandLineError::QuoteLeftOpen(key)));
        };
        self.rest = rest;
        Some(Ok(Setting { key, value }))
    }
}

/// Splits the value off the front of `text`, which is within quotes already when it is `quoted`; `None` where a
/// quote is left open.
fn value(text: &str, mut quoted: bool) -> Option<(String<MAX_COMMAND_LINE>, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        let literal = match character {
            '"' => {
                quoted = !quoted;
                continue;
            }
            '\\' if quoted => match characters.clone().next() {
                Some((_, next @ ('"' | '\\'))) => {
                    characters.next();
                    next
                }
                _ => character,
            },
            blank if blank.is_whitespace() && !quoted => return Some((value, text.get(at..)?)),
            other => other,
        };
        // A value is never longer than the line it came from, which fits.
        value.push(literal).ok()?;
    }
    (!quoted).then_some((value, ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn pairs(line: &str) -> Vec<(&str, std::string::String)> {
        settings(line)
            .map(|setting| setting.unwrap())
            .map(|setting| (setting.key, setting.value.as_str().into()))
            .collect()
    }

    #[test]
    fn words_are_split_at_blanks_and_quotes_keep_them_together() {
        assert_eq!(
            pairs("  guest.linux.memory=512M\tguest.linux.cmdline=\"console=hvc0 quiet\" trace "),
            [
                ("guest.linux.memory", "512M".into()),
                ("guest.linux.cmdline", "console=hvc0 quiet".into()),
                ("trace", "".into()),
            ]
        );
    }

    #[test]
    fn quotes_may_stand_around_the_whole_word() {
        assert_eq!(
            pairs(r#""guest.linux.cmdline=console=hvc0 quiet" "a=say \"hi\"" b=c"#),
            [
                ("guest.linux.cmdline", "console=hvc0 quiet".into()),
                ("a", r#"say "hi""#.into()),
                ("b", "c".into())
            ]
        );
    }

    #[test]
    fn a_backslash_takes_a_quote_as_it_is_but_only_within_quotes() {
        assert_eq!(
            pairs(r#"a="say \"hi\" \\ \n" b=c:\d e=f"g h"i"#),
            [
                ("a", r#"say "hi" \ \n"#.into()),
                ("b", r"c:\d".into()),
                ("e", "fg hi".into())
            ]
        );
    }

    #[test]
    fn empty_lines_and_empty_values_are_fine() {
        assert_eq!(pairs(""), []);
        assert_eq!(pairs("  \n"), []);
        assert_eq!(
            pairs("a= b=\"\" c==d"),
            [("a", "".into()), ("b", "".into()), ("c", "=d".into())]
        );
    }

    #[test]
    fn an_open_quote_and_a_missing_key_are_named_and_end_the_line() {
        let found: Vec<_> = settings("a=1 b=\"2 c=3").collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[1], Err(CommandLineError::QuoteLeftOpen("b")));
        let found: Vec<_> = settings("=x y=z").collect();
        assert_eq!(found, [Err(CommandLineError::NoKey("=x"))]);
    }
}
