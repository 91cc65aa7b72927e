//! One talk under way: what it can ask, and how question, answer and side effects are written down.

use core::fmt::{self, Write};

use xenvisor_abi::describe::{Described, Layout};
use xenvisor_abi::memory::{AddToPhysmap, XENMAPSPACE_shared_info, XENMEM_add_to_physmap};
use xenvisor_abi::xen::{DOMID_SELF, HYPERVISOR_memory_op};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::chance::Chance;

/// A guest's address of the first of its pages that talks use; there are 64 of them.
pub const PAGES: u64 = 16 << 20;
/// What is asked with is put here.
const ARGUMENT: u64 = PAGES;
/// Where the shared info page is put.
pub(crate) const SHARED_INFO: u64 = PAGES + 0x1000;

/// A guest, as far as a talk needs one.
pub trait Speaker {
    /// Makes a hypercall.
    fn call(&mut self, number: u32, arguments: [u64; 5]) -> i64;
    /// Writes to guest-physical memory.
    fn write(&mut self, at: u64, bytes: &[u8]);
    /// Reads guest-physical memory.
    fn read(&mut self, at: u64, bytes: &mut [u8]);
}

/// A talk.
pub struct Talk<'a> {
    speaker: &'a mut dyn Speaker,
    out: &'a mut dyn Write,
    pub(crate) chance: Chance,
}

impl<'a> Talk<'a> {
    /// A talk that has just begun: the shared info page is where talks expect it.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn begin(
        speaker: &'a mut dyn Speaker,
        out: &'a mut dyn Write,
        seed: u64,
    ) -> Result<Self, fmt::Error> {
        let mut talk = Self {
            speaker,
            out,
            chance: Chance::new(seed),
        };
        talk.place_shared_info()?;
        Ok(talk)
    }

    /// Puts the shared info page where talks expect it, wherever it is.
    pub(crate) fn place_shared_info(&mut self) -> fmt::Result {
        let mut shared_info = AddToPhysmap {
            domid: DOMID_SELF,
            space: XENMAPSPACE_shared_info,
            gpfn: SHARED_INFO >> 12,
            ..AddToPhysmap::default()
        };
        let command = XENMEM_add_to_physmap.into();
        self.ask("shared_info", HYPERVISOR_memory_op, command, &mut shared_info)
            .map(drop)
    }

    /// The address of a page for talks, by its number.
    pub(crate) const fn page(number: u64) -> u64 {
        PAGES + number * 0x1000
    }

    /// Asks with a command and a structure, and writes down both and the answer. The structure becomes the answer's.
    pub(crate) fn ask<T>(
        &mut self,
        name: &str,
        number: u32,
        command: u64,
        value: &mut T,
    ) -> Result<i64, fmt::Error>
    where
        T: Described + FromBytes + IntoBytes + Immutable + Copy,
    {
        let arguments = [command, ARGUMENT, 1, 0, 0];
        let (result, answer, ()) = self.exchange(format_args!("{name}"), number, arguments, value, |_| ())?;
        *value = answer;
        Ok(result)
    }

    /// As [`Talk::ask`], with a number between command and structure.
    pub(crate) fn ask_third<T>(
        &mut self,
        name: &str,
        number: u32,
        [command, second]: [u64; 2],
        value: &mut T,
    ) -> Result<i64, fmt::Error>
    where
        T: Described + FromBytes + IntoBytes + Immutable + Copy,
    {
        let arguments = [command, second, ARGUMENT, 0, 0];
        let said = format_args!("{name} {second:x}");
        let (result, answer, ()) = self.exchange(said, number, arguments, value, |_| ())?;
        *value = answer;
        Ok(result)
    }

    /// As [`Talk::ask`], but `hide` takes out of question and answer what means nothing to others, and keeps it.
    pub(crate) fn ask_hiding<T, R>(
        &mut self,
        name: &str,
        number: u32,
        command: u64,
        value: &T,
        hide: impl Fn(&mut T) -> R,
    ) -> Result<R, fmt::Error>
    where
        T: Described + FromBytes + IntoBytes + Immutable + Copy,
    {
        let arguments = [command, ARGUMENT, 1, 0, 0];
        let (_, _, hidden) = self.exchange(format_args!("{name}"), number, arguments, value, hide)?;
        Ok(hidden)
    }

    /// One question with a structure, and its answer: the result, and the structure as it came back.
    fn exchange<T, R>(
        &mut self,
        said: fmt::Arguments<'_>,
        number: u32,
        arguments: [u64; 5],
        value: &T,
        hide: impl Fn(&mut T) -> R,
    ) -> Result<(i64, T, R), fmt::Error>
    where
        T: Described + FromBytes + IntoBytes + Immutable + Copy,
    {
        let mut question = *value;
        hide(&mut question);
        write!(self.out, "{said}")?;
        fields(self.out, T::LAYOUT, question.as_bytes(), None)?;
        self.put(ARGUMENT, value);
        let result = self.speaker.call(number, arguments);
        let mut answer: T = self.get(ARGUMENT);
        let hidden = hide(&mut answer);
        write!(self.out, " = {result}")?;
        fields(self.out, T::LAYOUT, answer.as_bytes(), Some(question.as_bytes()))?;
        writeln!(self.out)?;
        Ok((result, answer, hidden))
    }

    /// Asks with numbers alone.
    pub(crate) fn ask_raw(
        &mut self,
        name: &str,
        number: u32,
        arguments: [u64; 5],
    ) -> Result<i64, fmt::Error> {
        let [a, b, c, d, e] = arguments;
        write!(self.out, "{name} {a:x} {b:x} {c:x} {d:x} {e:x}")?;
        let result = self.ask_quietly(number, arguments);
        writeln!(self.out, " = {result}")?;
        Ok(result)
    }

    /// Asks, and writes nothing down.
    pub(crate) fn ask_quietly(&mut self, number: u32, arguments: [u64; 5]) -> i64 {
        self.speaker.call(number, arguments)
    }

    /// Writes a remark down.
    pub(crate) fn remark(&mut self, remark: fmt::Arguments<'_>) -> fmt::Result {
        writeln!(self.out, "  {remark}")
    }

    /// Puts a value into memory.
    pub(crate) fn put<T: IntoBytes + Immutable>(&mut self, at: u64, value: &T) {
        self.speaker.write(at, value.as_bytes());
    }

    /// A value in memory.
    pub(crate) fn get<T: FromBytes + IntoBytes>(&mut self, at: u64) -> T {
        let mut value = T::new_zeroed();
        self.speaker.read(at, value.as_mut_bytes());
        value
    }
}

/// Writes the fields of a structure; where there is an earlier one, only those that differ.
fn fields(out: &mut dyn Write, layout: &Layout, bytes: &[u8], earlier: Option<&[u8]>) -> fmt::Result {
    for field in layout.fields {
        let Some(end) = field.offset.checked_add(field.size) else {
            continue;
        };
        let value = bytes.get(field.offset..end).unwrap_or_default();
        let same = earlier.is_some_and(|earlier| earlier.get(field.offset..end) == Some(value));
        if field.c.is_empty() || same {
            continue;
        }
        write!(out, " {}=", field.rust)?;
        // What is longer than a number is told word by word.
        for (at, word) in value.chunks(8).enumerate() {
            let separator = if at > 0 { ":" } else { "" };
            let number = word
                .iter()
                .rev()
                .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
            write!(out, "{separator}{number:x}")?;
        }
    }
    Ok(())
}
