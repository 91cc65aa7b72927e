//! The list of all headers that are covered, for the machine check.

use crate::describe::Header;
use crate::{
    arch_x86, argo, callback, elfnote, errno, event_channel, features, grant_table, hvm, io, memory, nmi,
    physdev, pmu, sched, vcpu, version, xen,
};

/// A [`Header`] from its file and the tables it has.
macro_rules! header {
    ($file:literal $(, $table:ident: $value:expr)*) => {
        Header { $($table: $value,)* ..Header::empty($file) }
    };
}

/// Every header of which this crate has the layouts and numbers.
#[rustfmt::skip]
pub const HEADERS: &[Header] = &[
    header!("arch-x86/cpuid.h", constants: arch_x86::cpuid::CONSTANTS, flags: arch_x86::cpuid::FLAGS),
    header!("arch-x86/hvm/start_info.h", constants: hvm::start_info::CONSTANTS, layouts: hvm::start_info::LAYOUTS),
    header!("arch-x86/pmu.h", constants: arch_x86::pmu::CONSTANTS, flags: arch_x86::pmu::FLAGS, layouts: arch_x86::pmu::LAYOUTS),
    header!("arch-x86/xen-x86_32.h", compat: arch_x86::xen_x86_32::LAYOUTS),
    header!("arch-x86/xen-x86_64.h", constants: arch_x86::xen_x86_64::CONSTANTS, flags: arch_x86::xen_x86_64::FLAGS, layouts: arch_x86::xen_x86_64::LAYOUTS),
    header!("arch-x86/xen.h", constants: arch_x86::xen::CONSTANTS, flags: arch_x86::xen::FLAGS, layouts: arch_x86::xen::LAYOUTS, compat: arch_x86::xen::compat::LAYOUTS),
    header!("argo.h", constants: argo::CONSTANTS, flags: argo::FLAGS, layouts: argo::LAYOUTS, compat: argo::compat::LAYOUTS),
    header!("callback.h", constants: callback::CONSTANTS, flags: callback::FLAGS, layouts: callback::LAYOUTS, compat: callback::compat::LAYOUTS),
    header!("elfnote.h", constants: elfnote::CONSTANTS),
    header!("errno.h", constants: errno::CONSTANTS),
    header!("event_channel.h", constants: event_channel::CONSTANTS, flags: event_channel::FLAGS, compat_constants: event_channel::compat::CONSTANTS, layouts: event_channel::LAYOUTS),
    header!("features.h", constants: features::CONSTANTS),
    header!("grant_table.h", constants: grant_table::CONSTANTS, flags: grant_table::FLAGS, layouts: grant_table::LAYOUTS, compat: grant_table::compat::LAYOUTS),
    header!("hvm/hvm_op.h", constants: hvm::hvm_op::CONSTANTS, layouts: hvm::hvm_op::LAYOUTS),
    header!("hvm/hvm_op.h", constants: hvm::hvm_op::altp2m::CONSTANTS, layouts: hvm::hvm_op::altp2m::LAYOUTS, compat: hvm::hvm_op::altp2m::compat::LAYOUTS),
    header!("hvm/hvm_vcpu.h", constants: hvm::hvm_vcpu::CONSTANTS, layouts: hvm::hvm_vcpu::LAYOUTS),
    header!("hvm/params.h", constants: hvm::params::CONSTANTS, flags: hvm::params::FLAGS),
    header!("io/console.h", layouts: io::console::LAYOUTS),
    header!("io/xs_wire.h", constants: io::xs_wire::CONSTANTS, flags: io::xs_wire::FLAGS, layouts: io::xs_wire::LAYOUTS),
    header!("memory.h", constants: memory::CONSTANTS, flags: memory::FLAGS, layouts: memory::LAYOUTS, compat: memory::compat::LAYOUTS),
    header!("memory.h", constants: memory::toolstack::CONSTANTS, flags: memory::toolstack::FLAGS, layouts: memory::toolstack::LAYOUTS, compat: memory::toolstack::compat::LAYOUTS),
    header!("nmi.h", constants: nmi::CONSTANTS, flags: nmi::FLAGS, layouts: nmi::LAYOUTS, compat: nmi::compat::LAYOUTS),
    header!("physdev.h", constants: physdev::CONSTANTS, flags: physdev::FLAGS, layouts: physdev::LAYOUTS, compat: physdev::compat::LAYOUTS),
    header!("pmu.h", constants: pmu::CONSTANTS, flags: pmu::FLAGS, layouts: pmu::LAYOUTS),
    header!("sched.h", constants: sched::CONSTANTS, layouts: sched::LAYOUTS, compat: sched::compat::LAYOUTS),
    header!("vcpu.h", constants: vcpu::CONSTANTS, flags: vcpu::FLAGS, layouts: vcpu::LAYOUTS, compat: vcpu::compat::LAYOUTS),
    header!("version.h", constants: version::CONSTANTS, layouts: version::LAYOUTS, compat: version::compat::LAYOUTS),
    header!("xen.h", constants: xen::CONSTANTS, flags: xen::FLAGS, layouts: xen::LAYOUTS, compat: xen::compat::LAYOUTS),
    header!("xen.h", constants: xen::pv::CONSTANTS, flags: xen::pv::FLAGS, layouts: xen::pv::LAYOUTS),
];
