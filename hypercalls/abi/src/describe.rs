//! Tables of what this crate defines, under the names the C headers use, and the macros that fill them.
//!
//! `constants!`, `flags!` and `layouts!` each define items and, from the very same tokens, the table that lists
//! them: neither can drift from the other. Each is used at most once in a module. The tables are constants, so an
//! image that does not read them does not contain them.

/// One number of a public header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constant {
    /// The C expression with the same value; nearly always a name.
    pub c: &'static str,
    /// Its value here.
    pub value: i128,
}

/// One field of a [`Layout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The field's name here.
    pub rust: &'static str,
    /// Path of the C member, with dots; empty for padding, which has no C name.
    pub c: &'static str,
    /// Offset in bytes from the start of the structure.
    pub offset: usize,
    /// Size in bytes.
    pub size: usize,
}

/// One structure of a public header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The structure's name here.
    pub rust: &'static str,
    /// The C tag or typedef name; `outer::path` is the type of that member of `outer`.
    pub c: &'static str,
    /// Size in bytes.
    pub size: usize,
    /// Alignment in bytes.
    pub align: usize,
    /// The fields, in order, padding included.
    pub fields: &'static [Field],
}

/// A structure that knows its layout.
pub trait Described {
    /// Its layout.
    const LAYOUT: &'static Layout;
}

/// All that is defined here of one public header.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// The header's path below the include directory.
    pub file: &'static str,
    /// Its numbers.
    pub constants: &'static [Constant],
    /// Its flags: each is one number more.
    pub flags: &'static [Constant],
    /// Those of its numbers that are others for a 32-bit caller.
    pub compat_constants: &'static [Constant],
    /// Its structures, as a 64-bit caller lays them out.
    pub layouts: &'static [Layout],
    /// Its structures which a 32-bit caller lays out otherwise.
    pub compat: &'static [Layout],
}

impl Header {
    /// A header of which nothing is defined.
    #[must_use]
    pub const fn empty(file: &'static str) -> Self {
        Self {
            file,
            constants: &[],
            flags: &[],
            compat_constants: &[],
            layouts: &[],
            compat: &[],
        }
    }
}

/// Defines numbers, and `CONSTANTS`, the table of them. `NAME = value;` or `NAME = value, "C expression";`
macro_rules! constants {
    ($($type:ident {
        $($(#[$doc:meta])* $name:ident = $value:expr $(, $c:literal)?;)*
    })*) => {
        $($(
            $(#[$doc])*
            #[allow(non_upper_case_globals, reason = "spelled as in the public header")]
            pub const $name: $type = $value;
        )*)*

        /// The numbers of this header, under their C names.
        pub const CONSTANTS: &[$crate::describe::Constant] = &[$($(
            $crate::describe::Constant { c: c_name!($name $(, $c)?), value: $name as i128 },
        )*)*];
    };
}

/// Defines flag words, and `FLAGS`, the table of their flags. `NAME = value, "C expression";`
macro_rules! flags {
    ($(
        $(#[doc = $doc:tt])*
        struct $name:ident: $bits:ident {
            $($(#[doc = $flag_doc:tt])* $flag:ident = $value:expr, $c:literal;)*
        }
    )*) => {
        $(::bitflags::bitflags! {
            $(#[doc = $doc])*
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
            pub struct $name: $bits {
                $($(#[doc = $flag_doc])* const $flag = $value;)*
            }
        })*

        /// The flags of this header, under their C names.
        pub const FLAGS: &[$crate::describe::Constant] = &[$($(
            $crate::describe::Constant { c: $c, value: $name::$flag.bits() as i128 },
        )*)*];
    };
}

/// Defines structures, and `LAYOUTS`, the table of them. A field is `name: type`, or `name: type = "C path"`;
/// the path of padding is empty.
macro_rules! layouts {
    ($(
        $(#[$doc:meta])*
        struct $name:ident = $c:literal {
            $($(#[$field_doc:meta])* $field:ident: $type:ty $(= $path:literal)?),* $(,)?
        }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(
                Clone, Copy, Debug, PartialEq, Eq,
                ::zerocopy::FromBytes, ::zerocopy::IntoBytes, ::zerocopy::Immutable, ::zerocopy::KnownLayout,
            )]
            #[repr(C)]
            pub struct $name {
                $($(#[$field_doc])* pub $field: $type,)*
            }

            impl $crate::describe::Described for $name {
                const LAYOUT: &'static $crate::describe::Layout = &$crate::describe::Layout {
                    rust: stringify!($name),
                    c: $c,
                    size: ::core::mem::size_of::<$name>(),
                    align: ::core::mem::align_of::<$name>(),
                    fields: &[$(
                        $crate::describe::Field {
                            rust: stringify!($field),
                            c: c_name!($field $(, $path)?),
                            offset: ::core::mem::offset_of!($name, $field),
                            size: ::core::mem::size_of::<$type>(),
                        },
                    )*],
                };
            }

            impl Default for $name {
                fn default() -> Self {
                    ::zerocopy::FromZeros::new_zeroed()
                }
            }
        )*

        /// The structures of this header, under their C names.
        pub const LAYOUTS: &[$crate::describe::Layout] = &[$(
            *<$name as $crate::describe::Described>::LAYOUT,
        )*];
    };
}

/// The C name of an item: its own, unless another is given.
macro_rules! c_name {
    ($name:ident) => {
        stringify!($name)
    };
    ($name:ident, $c:literal) => {
        $c
    };
}
