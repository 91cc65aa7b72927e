//! The hypercall table: a number, a name, the function that serves it.
//!
//! What is not in the table does not exist for a guest without a device model: `-ENOSYS`, as from Xen 4.17 as Debian
//! builds it. That is so of all that is for PV kernels (trap tables, descriptors, debug registers, `iret`, callbacks,
//! NMIs), of `physdev_op` (a PVH guest has no physical interrupts), of `xsm_op` and `argo_op` (left out of the build),
//! and of `kexec_op`, `xenoprof_op` and the machine check interface. Numbers are those of the public header `xen.h`.

use xenvisor_abi::xen as abi;
use xenvisor_core::machine::Call;

use crate::answer::Served;
use crate::context::Context;
use crate::errno::Errno;
use crate::shape::halves;
use crate::{
    console_io, event_channel_op, grant_table_op, hvm_op, memory_op, multicall, refused, sched_op,
    set_timer_op, vcpu_op, vm_assist, xen_version,
};

/// Serves a hypercall.
///
/// # Errors
/// What the guest gets as a negative result.
#[rustfmt::skip]
pub fn serve(cx: &Context<'_>, call: &Call) -> Served {
    if !call.privileged {
        return Err(Errno::NOT_PERMITTED);
    }
    match u32::try_from(call.number).map_err(|_| Errno::NO_CALL)? {
        abi::HYPERVISOR_platform_op      => refused::platform_op(cx, call),
        abi::HYPERVISOR_memory_op        => memory_op::serve(cx, call),
        abi::HYPERVISOR_grant_table_op   => grant_table_op::serve(cx, call),
        abi::HYPERVISOR_multicall        => multicall::serve(cx, call),
        abi::HYPERVISOR_set_timer_op     => set_timer_op::serve(cx, call),
        abi::HYPERVISOR_xen_version      => xen_version::serve(cx, call),
        abi::HYPERVISOR_console_io       => console_io::serve(cx, call),
        abi::HYPERVISOR_vm_assist        => vm_assist::serve(cx, call),
        abi::HYPERVISOR_vcpu_op          => vcpu_op::serve(cx, call),
        abi::HYPERVISOR_sched_op         => sched_op::serve(cx, call),
        abi::HYPERVISOR_event_channel_op => event_channel_op::serve(cx, call),
        abi::HYPERVISOR_hvm_op           => hvm_op::serve(cx, call),
        abi::HYPERVISOR_mmuext_op        => refused::mmuext_op(cx, call),
        abi::HYPERVISOR_sysctl           => refused::sysctl(cx, call),
        abi::HYPERVISOR_domctl           => refused::domctl(cx, call),
        abi::HYPERVISOR_xenpmu_op        => refused::xenpmu_op(cx, call),
        abi::HYPERVISOR_dm_op            => refused::dm_op(cx, call),
        abi::HYPERVISOR_hypfs_op         => refused::hypfs_op(cx, call),
        abi::HYPERVISOR_arch_1           => refused::paging_domctl_cont(cx, call),
        _                                => Err(Errno::NO_CALL),
    }
}

/// The name of a hypercall, for the log.
#[must_use]
#[rustfmt::skip]
pub fn name(number: u64) -> &'static str {
    match u32::try_from(number).unwrap_or(u32::MAX) {
        abi::HYPERVISOR_memory_op        => "memory_op",
        abi::HYPERVISOR_multicall        => "multicall",
        abi::HYPERVISOR_set_timer_op     => "set_timer_op",
        abi::HYPERVISOR_xen_version      => "xen_version",
        abi::HYPERVISOR_console_io       => "console_io",
        abi::HYPERVISOR_grant_table_op   => "grant_table_op",
        abi::HYPERVISOR_vm_assist        => "vm_assist",
        abi::HYPERVISOR_vcpu_op          => "vcpu_op",
        abi::HYPERVISOR_sched_op         => "sched_op",
        abi::HYPERVISOR_event_channel_op => "event_channel_op",
        abi::HYPERVISOR_physdev_op       => "physdev_op",
        abi::HYPERVISOR_hvm_op           => "hvm_op",
        abi::HYPERVISOR_platform_op      => "platform_op",
        abi::HYPERVISOR_mmuext_op        => "mmuext_op",
        abi::HYPERVISOR_xsm_op           => "xsm_op",
        abi::HYPERVISOR_sysctl           => "sysctl",
        abi::HYPERVISOR_domctl           => "domctl",
        abi::HYPERVISOR_kexec_op         => "kexec_op",
        abi::HYPERVISOR_argo_op          => "argo_op",
        abi::HYPERVISOR_xenpmu_op        => "xenpmu_op",
        abi::HYPERVISOR_dm_op            => "dm_op",
        abi::HYPERVISOR_hypfs_op         => "hypfs_op",
        abi::HYPERVISOR_arch_1           => "paging_domctl_cont",
        _                                => "unknown",
    }
}

/// The sub-operation: Xen's `int cmd`, the low 32 bits of the first argument.
#[must_use]
pub fn command(call: &Call) -> u32 {
    low(argument(call, 0))
}

/// An argument, by position.
#[must_use]
pub fn argument(call: &Call, n: usize) -> u64 {
    call.arguments.get(n).copied().unwrap_or(0)
}

/// The low half of an argument: what Xen's `unsigned int` parameters keep of it.
#[must_use]
pub fn low(argument: u64) -> u32 {
    halves(argument).low
}
