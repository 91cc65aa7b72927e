//! What is wrong with a control structure that the processor refuses.

use core::fmt;

use super::capability::Capabilities;
use super::fields::Fields;

/// Writes all that is wrong with a control structure, for a log line.
pub struct Explanation<'a> {
    /// The structure.
    pub fields: &'a dyn Fields,
    /// What the processor can do.
    pub capabilities: &'a Capabilities,
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("nobody has looked for what is wrong")
    }
}
