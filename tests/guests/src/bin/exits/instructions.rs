//! Instructions that are intercepted, or that nobody has.

use crate::code;
use crate::trial::{Code, Walk};
use xenvisor_guests::hypercall;

/// The other vendor's instruction for hypercalls: undefined.
fn foreign_call() -> Code {
    match hypercall::instruction_bytes() {
        [_, _, 0xd9] => code!("vmcall"),
        _ => code!("vmmcall"),
    }
}

/// This processor's.
fn call() -> Code {
    match hypercall::instruction_bytes() {
        [_, _, 0xd9] => code!("vmmcall"),
        _ => code!("vmcall"),
    }
}

/// Says what they do.
pub fn all(walk: &mut Walk<'_>) {
    walk.steps("nop", code!("nop"));
    caches(walk);
    undefined(walk);
    calls(walk);
    own_exceptions(walk);
}

fn caches(walk: &mut Walk<'_>) {
    walk.everywhere("invd", code!("invd"));
    walk.everywhere("wbinvd", code!("wbinvd"));
    walk.everywhere("rdpmc", code!("rdpmc"));
    walk.with(|registers| registers.rcx = 0x4000_0000)
        .everywhere("rdpmc of a fixed counter", code!("rdpmc"));
    walk.everywhere("invlpg", code!("invlpg [rax]"));
    walk.alone("pause", code!("pause"));
    walk.steps("rdtsc", code!("rdtsc", "xor eax, eax", "xor edx, edx"));
}

fn undefined(walk: &mut Walk<'_>) {
    let all = [
        ("ud2", code!("ud2")),
        ("monitor", code!("monitor")),
        ("mwait", code!("mwait")),
        ("vmxon", code!("vmxon [rsp]")),
        ("vmxoff", code!("vmxoff")),
        ("vmlaunch", code!("vmlaunch")),
        ("vmresume", code!("vmresume")),
        ("vmclear", code!("vmclear [rsp]")),
        ("vmptrld", code!("vmptrld [rsp]")),
        ("vmptrst", code!("vmptrst [rsp]")),
        ("vmread", code!("vmread rax, rbx")),
        ("vmwrite", code!("vmwrite rax, rbx")),
        ("invept", code!("invept rax, [rsp]")),
        ("invvpid", code!("invvpid rax, [rsp]")),
        ("vmfunc", code!("vmfunc")),
        ("getsec", code!(".byte 0x0f, 0x37")),
        ("rsm", code!("rsm")),
        ("encls", code!(".byte 0x0f, 0x01, 0xcf")),
        ("enclu", code!(".byte 0x0f, 0x01, 0xd7")),
        ("enclv", code!(".byte 0x0f, 0x01, 0xc0")),
        ("pconfig", code!(".byte 0x0f, 0x01, 0xc5")),
        ("rdpru", code!(".byte 0x0f, 0x01, 0xfd")),
    ];
    for (name, code) in all {
        walk.everywhere(name, code);
    }
    // At level 3 a processor that has these refuses them for the level, before anybody can say that there are none.
    let of_svm = [
        ("vmrun", code!("vmrun")),
        ("vmload", code!("vmload")),
        ("vmsave", code!("vmsave")),
        ("stgi", code!("stgi")),
        ("clgi", code!("clgi")),
        ("skinit", code!("skinit")),
        ("invlpga", code!("invlpga rax, ecx")),
    ];
    for (name, code) in of_svm {
        walk.steps(name, code);
    }
}

fn calls(walk: &mut Walk<'_>) {
    walk.everywhere("the other vendor's hypercall", foreign_call());
    // xen_version(XENVER_version).
    walk.with(|registers| registers.rax = 17)
        .everywhere("xen_version", call());
    walk.with(|registers| registers.rax = 63)
        .everywhere("a hypercall that there is not", call());
    walk.with(|registers| registers.rax = 1 << 40 | 17)
        .everywhere("a hypercall with a number above 32 bits", call());
}

/// Exceptions that nobody intercepts.
fn own_exceptions(walk: &mut Walk<'_>) {
    walk.everywhere("int3", code!("int3"));
    // Not at level 3: QEMU 7.2 makes the wrong error code of it.
    walk.steps("int 0x30", code!("int 0x30"));
    walk.everywhere("division by zero", code!("xor ecx, ecx", "div ecx"));
    walk.everywhere("load of a far segment", code!("mov eax, 0x1230", "mov es, eax"));
    walk.everywhere(
        "read of a non-canonical address",
        code!("mov rax, -1", "btr rax, 63", "mov rcx, [rax]"),
    );
    walk.everywhere(
        "hlt at level 3 alone",
        code!(
            "mov eax, cs",
            "test al, 3",
            "jz 80f",
            "hlt",
            "80:",
            "xor eax, eax"
        ),
    );
    walk.everywhere(
        "pushf with a trap flag",
        code!("pushfq", "or qword ptr [rsp], 0x100", "popfq", "nop", "nop"),
    );
}
