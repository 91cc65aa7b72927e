//! `xen_version`: what hypervisor this is and what it can do. Public header `version.h`.
//!
//! Answers are those of Xen 4.17 to a guest without privilege. How the host was started is answered with a refusal
//! (`<denied>`), as Xen does, because a guest that asks is not wrong; all else, every guest may know. Every field is
//! filled to its end with zeros.

use xenvisor_abi::features as feature;
use xenvisor_abi::version as abi;
use xenvisor_abi::xen::Uuid;
use xenvisor_core::machine::Call;
use xenvisor_core::number::FRAME_SIZE;
use xenvisor_core::policy::{HostDetails, Verdict};

use crate::answer::{Answer, Served};
use crate::context::Context;
use crate::errno::Errno;
use crate::table::{argument, command};

/// The version whose behaviour this is.
pub const MAJOR: u32 = 4;
/// Its minor number.
pub const MINOR: u32 = 17;
/// What follows the numbers. Names this hypervisor, so that logs of guests tell whom they ran on.
const EXTRA: &str = ".0-xenvisor";
/// The guests that can run here. Toolstacks look for these words.
const CAPABILITIES: &str = "xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 ";
/// What Xen says instead of what a guest may not know.
const DENIED: &str = "<denied>";
/// Where a 64-bit Xen begins, by its public headers; meaningless to guests with translated memory, but asked for.
const VIRT_START: u64 = 0xffff_8000_0000_0000;

/// The features of a guest that translates its own memory and has no device model.
const FEATURES: u32 = 1 << feature::XENFEAT_writable_page_tables
    | 1 << feature::XENFEAT_auto_translated_physmap
    | 1 << feature::XENFEAT_hvm_callback_vector
    | 1 << feature::XENFEAT_hvm_safe_pvclock
    | 1 << feature::XENFEAT_memory_op_vnode_supported
    | 1 << feature::XENFEAT_not_direct_mapped;

/// Serves the call.
///
/// # Errors
/// `FAULT` where the answer cannot be written, `INVALID` for a word of features there is not, `NO_CALL` for what is
/// not asked here, `NOT_PERMITTED` for the build identifier of a host that a guest may not inspect.
#[rustfmt::skip]
pub fn serve(cx: &Context<'_>, call: &Call) -> Served {
    let at = argument(call, 1);
    match command(call) {
        abi::XENVER_version             => Ok(Answer::Done(u64::from(MAJOR << 16 | MINOR))),
        abi::XENVER_extraversion        => text::<{ abi::XEN_EXTRAVERSION_LEN }>(cx, at, EXTRA),
        abi::XENVER_compile_info        => compile_info(cx, at),
        abi::XENVER_capabilities        => text::<{ abi::XEN_CAPABILITIES_INFO_LEN }>(cx, at, CAPABILITIES),
        abi::XENVER_changeset           => text::<{ abi::XEN_CHANGESET_INFO_LEN }>(cx, at, env!("CARGO_PKG_VERSION")),
        abi::XENVER_platform_parameters => platform_parameters(cx, at),
        abi::XENVER_get_features        => get_features(cx, at),
        abi::XENVER_pagesize            => pagesize(at),
        abi::XENVER_guest_handle        => guest_handle(cx, at),
        abi::XENVER_commandline         => text::<{ abi::XEN_COMMANDLINE_LEN }>(cx, at, told(cx, "")),
        abi::XENVER_build_id            => build_id(cx, at),
        _                               => Err(Errno::NO_CALL),
    }
}

/// Whether the caller may know about the host. A refusal is an answer here, not an event worth a line in the log.
fn may_know(cx: &Context<'_>) -> bool {
    let caller = cx.caller.id;
    cx.hypervisor.policy.host_details(&HostDetails { caller }) == Verdict::Allow
}

fn told(cx: &Context<'_>, detail: &'static str) -> &'static str {
    if may_know(cx) { detail } else { DENIED }
}

/// A string in a field of fixed size: cut, ended by a zero, the rest zeros.
fn padded<const LENGTH: usize>(text: &str) -> [u8; LENGTH] {
    let mut field = [0; LENGTH];
    let room = LENGTH.saturating_sub(1);
    field
        .iter_mut()
        .zip(text.bytes().take(room))
        .for_each(|(to, from)| *to = from);
    field
}

fn text<const LENGTH: usize>(cx: &Context<'_>, at: u64, text: &str) -> Served {
    cx.write(at, &padded::<LENGTH>(text))?;
    Ok(Answer::OK)
}

fn compile_info(cx: &Context<'_>, at: u64) -> Served {
    cx.write(
        at,
        &abi::CompileInfo {
            compiler: padded("rustc"),
            compile_by: padded("xenvisor"),
            compile_domain: padded(""),
            compile_date: padded(""),
        },
    )?;
    Ok(Answer::OK)
}

fn platform_parameters(cx: &Context<'_>, at: u64) -> Served {
    // A guest that translates its own memory has no hypervisor in its address space; Xen answers all the same.
    let answer = abi::PlatformParameters {
        virt_start: VIRT_START,
    };
    cx.write_shaped(at, &answer)?;
    Ok(Answer::OK)
}

fn get_features(cx: &Context<'_>, at: u64) -> Served {
    let mut info: abi::FeatureInfo = cx.read(at)?;
    if info.submap_idx != 0 {
        return Err(Errno::INVALID);
    }
    info.submap = FEATURES;
    cx.write(at, &info)?;
    Ok(Answer::OK)
}

fn guest_handle(cx: &Context<'_>, at: u64) -> Served {
    let mut uuid = Uuid::default();
    uuid.bytes = cx.caller.uuid;
    cx.write(at, &uuid)?;
    Ok(Answer::OK)
}

/// The size of a page. It takes no argument, and says so.
const fn pagesize(at: u64) -> Served {
    if at != 0 {
        return Err(Errno::INVALID);
    }
    Ok(Answer::Done(FRAME_SIZE))
}

fn build_id(cx: &Context<'_>, at: u64) -> Served {
    cx.authorise(HostDetails { caller: cx.caller.id })?;
    // Without an argument, its length is asked for.
    if at != 0 && cx.read::<abi::BuildId>(at)?.len == 0 {
        return Err(Errno::INVALID);
    }
    // An image without an identifier in its notes.
    Err(Errno::NO_DATA)
}

#[cfg(test)]
mod tests;
