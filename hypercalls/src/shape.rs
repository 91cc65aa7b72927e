//! Arguments whose layout depends on how wide the caller's code is.
//!
//! Handlers know one layout, that of a 64-bit caller. A [`Shape`] is a structure of which a 32-bit caller has another
//! layout, and here, field by field, is the one place where the two meet: [`Context::read_shaped`] and its relatives
//! ask the context which of them the caller uses. Whatever is not a [`Shape`] has one layout for both, and is read by
//! [`Context::read`]; a 64-bit structure with pointers or `unsigned long`s in it that is read so would be a mistake.
//!
//! Lists of `unsigned long`s are [`Words`]; a field that is answered alone is found by [`field_at!`].
//!
//! Numbers of a 32-bit caller are widened with zeros, and answers to it are cut, both as Xen's own translation does.

use core::marker::PhantomData;

use xenvisor_abi::{CompatU64, GuestHandle32, GuestHandle64};
use xenvisor_core::machine::Width;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::context::{Context, Reply};
use crate::errno::Errno;

#[cfg(test)]
mod tests;

/// A structure of which a 32-bit caller has another layout.
pub trait Shape: FromBytes + IntoBytes + Immutable + Default {
    /// That layout.
    type Compat: FromBytes + IntoBytes + Immutable + Default;

    /// From a 32-bit caller's layout.
    fn widen(narrow: &Self::Compat) -> Self;

    /// To a 32-bit caller's layout.
    fn narrow(&self) -> Self::Compat;
}

/// A field as 64-bit code has it; `N` is what 32-bit code has in its place.
trait Field<N> {
    fn widened(narrow: N) -> Self;
    fn narrowed(self) -> N;
}

macro_rules! same_in_both {
    ($($type:ty)*) => {$(
        impl Field<$type> for $type {
            fn widened(narrow: $type) -> Self {
                narrow
            }
            fn narrowed(self) -> $type {
                self
            }
        }
    )*};
}

same_in_both!(u8 u16 u32 u64 i16 i32 xenvisor_abi::physdev::PciDevice);

/// `unsigned long`, or a frame number.
impl Field<u32> for u64 {
    fn widened(narrow: u32) -> Self {
        narrow.into()
    }
    fn narrowed(self) -> u32 {
        halves(self).low
    }
}

/// `uint64_t`, aligned to 4 bytes by 32-bit code.
impl Field<CompatU64> for u64 {
    fn widened(narrow: CompatU64) -> Self {
        Self::from(narrow.low) | Self::from(narrow.high) << 32
    }
    fn narrowed(self) -> CompatU64 {
        halves(self)
    }
}

impl Field<GuestHandle32> for GuestHandle64 {
    fn widened(narrow: GuestHandle32) -> Self {
        Self(narrow.0.into())
    }
    fn narrowed(self) -> GuestHandle32 {
        GuestHandle32(halves(self.0).low)
    }
}

/// A pointer in a field that is 64 bits wide for everybody: its low half counts.
impl Field<CompatU64> for GuestHandle64 {
    fn widened(narrow: CompatU64) -> Self {
        Self(narrow.low.into())
    }
    fn narrowed(self) -> CompatU64 {
        CompatU64 {
            low: halves(self.0).low,
            high: 0,
        }
    }
}

impl<W: Field<N>, N, const COUNT: usize> Field<[N; COUNT]> for [W; COUNT] {
    fn widened(narrow: [N; COUNT]) -> Self {
        narrow.map(W::widened)
    }
    fn narrowed(self) -> [N; COUNT] {
        self.map(W::narrowed)
    }
}

/// A number as 32-bit code has it in two registers, or in two words of memory.
#[must_use]
pub const fn halves(number: u64) -> CompatU64 {
    let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
    CompatU64 {
        low: u32::from_le_bytes([a, b, c, d]),
        high: u32::from_le_bytes([e, f, g, h]),
    }
}

/// Says of structures which fields they have: the same names in both layouts, without padding.
macro_rules! shapes {
    ($($wide:ty = $narrow:ty { $($field:ident)* })*) => {
        $(
            impl Shape for $wide {
                type Compat = $narrow;

                fn widen(narrow: &$narrow) -> Self {
                    #[allow(clippy::needless_update, reason = "some have no padding")]
                    Self {
                        $($field: Field::widened(narrow.$field),)*
                        ..Self::default()
                    }
                }

                fn narrow(&self) -> $narrow {
                    #[allow(clippy::needless_update, reason = "some have no padding")]
                    let mut narrow = <$narrow>::default();
                    $(narrow.$field = self.$field.narrowed();)*
                    narrow
                }
            }

            impl Field<$narrow> for $wide {
                fn widened(narrow: $narrow) -> Self {
                    Self::widen(&narrow)
                }
                fn narrowed(self) -> $narrow {
                    self.narrow()
                }
            }
        )*

        /// Every shape, widened from bytes and narrowed again.
        #[cfg(test)]
        const THERE_AND_BACK: &[tests::ThereAndBack] = &[$(
            tests::there_and_back::<$wide>(stringify!($narrow)),
        )*];
    };
}

use xenvisor_abi as abi;
use xenvisor_abi::argo::compat as argo;
use xenvisor_abi::grant_table::compat as grant;
use xenvisor_abi::hvm::hvm_op::altp2m::compat as altp2m;
use xenvisor_abi::memory::compat as memory;
use xenvisor_abi::memory::toolstack::compat as toolstack;
use xenvisor_abi::physdev::compat as physdev;
use xenvisor_abi::sched::compat as sched;
use xenvisor_abi::vcpu::compat as vcpu;
use xenvisor_abi::version::compat as version;
use xenvisor_abi::xen::compat as xen;

#[rustfmt::skip]
shapes! {
    abi::memory::Reservation                    = memory::Reservation             { extent_start nr_extents extent_order mem_flags domid }
    abi::memory::Exchange                       = memory::Exchange                { input output nr_exchanged }
    abi::memory::MachphysMfnList                = memory::MachphysMfnList         { max_extents extent_start nr_extents }
    abi::memory::MachphysMapping                = memory::MachphysMapping         { v_start v_end max_mfn }
    abi::memory::AddToPhysmap                   = memory::AddToPhysmap            { domid size space idx gpfn }
    abi::memory::AddToPhysmapBatch              = memory::AddToPhysmapBatch       { domid space size foreign_domid idxs gpfns errs }
    abi::memory::RemoveFromPhysmap              = memory::RemoveFromPhysmap       { domid gpfn }
    abi::memory::MemoryMap                      = memory::MemoryMap               { nr_entries buffer }
    abi::memory::ForeignMemoryMap               = memory::ForeignMemoryMap        { domid map }
    abi::memory::PodTarget                      = memory::PodTarget               { target_pages tot_pages pod_cache_pages pod_entries domid }
    abi::memory::ReservedDeviceMemory           = memory::ReservedDeviceMemory    { start_pfn nr_pages }
    abi::memory::ReservedDeviceMemoryMap        = memory::ReservedDeviceMemoryMap { flags nr_entries buffer device }
    abi::memory::AcquireResource                = memory::AcquireResource         { domid kind id nr_frames padding frame frame_list }
    abi::memory::VmemRange                      = memory::VmemRange               { start end flags nid }
    abi::memory::VnumaTopologyInfo              = memory::VnumaTopologyInfo       { domid padding nr_vnodes nr_vcpus nr_vmemranges vdistance vcpu_to_vnode vmemrange }
    abi::grant_table::SetupTable                = grant::SetupTable               { dom nr_frames status frame_list }
    abi::grant_table::Transfer                  = grant::Transfer                 { mfn domid reference status }
    abi::grant_table::CopyPointer               = grant::CopyPointer              { u domid offset }
    abi::grant_table::CopyOp                    = grant::CopyOp                   { source dest len flags status }
    abi::grant_table::GetStatusFrames           = grant::GetStatusFrames          { nr_frames dom status frame_list }
    abi::sched::Poll                            = sched::Poll                     { ports nr_ports timeout }
    abi::vcpu::RunstateInfo                     = vcpu::RunstateInfo              { state state_entry_time time }
    abi::vcpu::SetSingleshotTimer               = vcpu::SetSingleshotTimer        { timeout_abs_ns flags }
    abi::version::PlatformParameters            = version::PlatformParameters     { virt_start }
    abi::xen::MulticallEntry                    = xen::MulticallEntry             { op result args }
    abi::physdev::PirqEoiGmfn                   = physdev::PirqEoiGmfn            { gmfn }
    abi::physdev::SetIobitmap                   = physdev::SetIobitmap            { bitmap nr_ports }
    abi::physdev::Apic                          = physdev::Apic                   { apic_physbase reg value }
    abi::physdev::MapPirq                       = physdev::MapPirq                { domid kind index pirq bus devfn entry_nr table_base }
    abi::physdev::PciMmcfgReserved              = physdev::PciMmcfgReserved       { address segment start_bus end_bus flags }
    abi::memory::toolstack::AccessOp            = toolstack::AccessOp             { op access domid nr pfn pfn_list access_list }
    abi::hvm::hvm_op::altp2m::SetMemAccessMulti = altp2m::SetMemAccessMulti       { view padding nr opaque pfn_list access_list }
    abi::argo::Buffer                           = argo::Buffer                    { start length padding }
}

/// Where a runstate area is to be: a union that is 8 bytes long for everybody, of which a 32-bit caller gives four.
impl Shape for abi::vcpu::RegisterRunstateMemoryArea {
    type Compat = GuestHandle32;

    fn widen(narrow: &GuestHandle32) -> Self {
        Self {
            addr: Field::widened(*narrow),
        }
    }

    fn narrow(&self) -> GuestHandle32 {
        self.addr.narrowed()
    }
}

/// As a runstate area.
impl Shape for abi::vcpu::RegisterTimeMemoryArea {
    type Compat = GuestHandle32;

    fn widen(narrow: &GuestHandle32) -> Self {
        Self {
            addr: Field::widened(*narrow),
        }
    }

    fn narrow(&self) -> GuestHandle32 {
        self.addr.narrowed()
    }
}

/// The offset of a field in the layout that a width of code has of a [`Shape`].
macro_rules! field_at {
    ($width:expr, $shape:ty, $field:ident) => {
        match $width {
            ::xenvisor_core::machine::Width::Bits64 => ::core::mem::offset_of!($shape, $field) as u64,
            ::xenvisor_core::machine::Width::Bits32 => {
                ::core::mem::offset_of!(<$shape as $crate::shape::Shape>::Compat, $field) as u64
            }
        }
    };
}
pub(crate) use field_at;

/// Bytes of a shape in the layout of this width.
#[must_use]
pub const fn bytes_of<T: Shape>(width: Width) -> u64 {
    match width {
        Width::Bits64 => size_of::<T>() as u64,
        Width::Bits32 => size_of::<T::Compat>() as u64,
    }
}

impl<'a> Context<'a> {
    /// Reads an argument in the caller's layout, once.
    ///
    /// # Errors
    /// When it is not all readable memory.
    pub fn read_shaped<T: Shape>(&self, at: u64) -> Result<T, Errno> {
        match self.width {
            Width::Bits64 => self.read(at),
            Width::Bits32 => Ok(T::widen(&self.read(at)?)),
        }
    }

    /// Writes an answer in the caller's layout. For answers that may fail without harm; otherwise
    /// [`Context::reserve_shaped`] first.
    ///
    /// # Errors
    /// When it is not all writable memory.
    pub fn write_shaped<T: Shape>(&self, at: u64, answer: &T) -> Result<(), Errno> {
        match self.width {
            Width::Bits64 => self.write(at, answer),
            Width::Bits32 => self.write(at, &answer.narrow()),
        }
    }

    /// Finds and pins the place for an answer in the caller's layout, before the work that it will report.
    ///
    /// # Errors
    /// When it is not all writable memory, or is longer than an answer can be.
    pub fn reserve_shaped<T: Shape>(&self, at: u64) -> Result<ShapedReply<'a, T>, Errno> {
        Ok(match self.width {
            Width::Bits64 => ShapedReply::Wide(self.reserve(at)?),
            Width::Bits32 => ShapedReply::Narrow(self.reserve(at)?, PhantomData),
        })
    }

    /// The caller's list of `unsigned long`s, or of frame numbers, at this address.
    #[must_use]
    pub const fn words(&self, at: u64) -> Words {
        Words {
            at,
            width: self.width,
        }
    }
}

/// A reserved place for an answer in the caller's layout. Sending it cannot fail.
#[must_use = "an answer that is not sent is lost"]
pub enum ShapedReply<'a, T: Shape> {
    /// A 64-bit caller waits for it.
    Wide(Reply<'a, T>),
    /// A 32-bit caller waits for it.
    Narrow(Reply<'a, T::Compat>, PhantomData<fn(T)>),
}

impl<T: Shape> ShapedReply<'_, T> {
    /// Puts the answer where the caller will find it.
    pub fn send(self, answer: &T) {
        match self {
            Self::Wide(reply) => reply.send(answer),
            Self::Narrow(reply, _) => reply.send(&answer.narrow()),
        }
    }
}

/// A list of `unsigned long`s in the caller's memory: 64 or 32 bits each. Each element is read when its turn comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Words {
    at: u64,
    width: Width,
}

impl Words {
    /// Where an element is.
    ///
    /// # Errors
    /// When there is no such address.
    pub fn address(self, index: u64) -> Result<u64, Errno> {
        let bytes: u64 = match self.width {
            Width::Bits64 => 8,
            Width::Bits32 => 4,
        };
        let offset = index.checked_mul(bytes);
        offset
            .and_then(|offset| self.at.checked_add(offset))
            .ok_or(Errno::FAULT)
    }

    /// Reads an element, once.
    ///
    /// # Errors
    /// When it is not readable memory.
    pub fn get(self, cx: &Context<'_>, index: u64) -> Result<u64, Errno> {
        let at = self.address(index)?;
        match self.width {
            Width::Bits64 => cx.read(at),
            Width::Bits32 => cx.read::<u32>(at).map(u64::from),
        }
    }

    /// Writes an element, cut to its size.
    ///
    /// # Errors
    /// When it is not writable memory.
    pub fn put(self, cx: &Context<'_>, index: u64, value: u64) -> Result<(), Errno> {
        let at = self.address(index)?;
        match self.width {
            Width::Bits64 => cx.write(at, &value),
            Width::Bits32 => cx.write(at, &halves(value).low),
        }
    }

    /// Finds and pins the place for an element.
    ///
    /// # Errors
    /// When it is not writable memory.
    pub fn reserve<'a>(self, cx: &Context<'a>, index: u64) -> Result<WordReply<'a>, Errno> {
        let at = self.address(index)?;
        Ok(match self.width {
            Width::Bits64 => WordReply::Wide(cx.reserve(at)?),
            Width::Bits32 => WordReply::Narrow(cx.reserve(at)?),
        })
    }
}

/// A reserved place for an `unsigned long`. Sending it cannot fail.
#[must_use = "an answer that is not sent is lost"]
pub enum WordReply<'a> {
    /// 64 bits wide.
    Wide(Reply<'a, u64>),
    /// 32 bits wide.
    Narrow(Reply<'a, u32>),
}

impl WordReply<'_> {
    /// Puts the answer, cut to its size, where the caller will find it.
    pub fn send(self, answer: u64) {
        match self {
            Self::Wide(reply) => reply.send(&answer),
            Self::Narrow(reply) => reply.send(&halves(answer).low),
        }
    }
}
