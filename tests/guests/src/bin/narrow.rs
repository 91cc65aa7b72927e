//! Makes calls in the layouts of 32-bit code, and says what came of each: the result, and the argument afterwards with
//! four bytes behind it, which nobody should have written.
//!
//! Nothing it says depends on who has built the guest, so that what a hypervisor answers can be held against another's.
//! Run it in a 32-bit guest with at least 32 MiB.
#![cfg_attr(bare, no_std, no_main)]

use core::fmt;

use xenvisor_abi::grant_table as grant;
use xenvisor_abi::memory as mem;
use xenvisor_abi::xen::{self, DOMID_SELF};
use xenvisor_abi::{sched, vcpu, version};
use xenvisor_guests::prelude::*;
use xenvisor_guests::raw;

/// Memory that nobody needs: arguments, lists, and frames to play with from here on.
const ARGUMENT: u32 = 20 << 20;
const LIST: u32 = ARGUMENT + 0x1000;
const OTHER: u32 = ARGUMENT + 0x2000;
const AREA: u32 = ARGUMENT + 0x3000;
const FRAMES: u32 = (24 << 20) >> 12;
/// Where there is no memory.
const NOWHERE: u32 = 0xf000_0000;
const NOISE: [u8; 256] = [0xa5; 256];
const SELF: u32 = DOMID_SELF as u32;

/// Bytes as a person reads them: words, lowest first.
struct Words<'a>(&'a [u8]);

impl fmt::Display for Words<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for word in self.0.chunks(4) {
            let mut whole = [0; 4];
            whole[..word.len()].copy_from_slice(word);
            write!(out, " {:x}", u32::from_le_bytes(whole))?;
        }
        Ok(())
    }
}

fn put(at: u32, words: &[u32]) {
    raw::write(at.into(), &NOISE);
    for (place, word) in (u64::from(at)..).step_by(4).zip(words) {
        raw::write(place, &word.to_le_bytes());
    }
}

struct Caller<'a>(&'a mut Guest);

impl Caller<'_> {
    /// A call with a structure of these words; the argument's place among the call's own is a `true`.
    fn call(&mut self, name: &str, number: u32, arguments: [u32; 4], words: &[u32]) {
        put(ARGUMENT, words);
        let [a, b, c, d] = arguments.map(u64::from);
        let result = raw::call(number, [a, b, c, d, 0]);
        let mut after = [0; 256];
        raw::read(ARGUMENT.into(), &mut after);
        let shown = &after[..words.len() * 4 + 4];
        self.0.say(format_args!("{name}: {result},{}", Words(shown)));
    }

    fn look(&mut self, name: &str, at: u32, bytes: usize) {
        let mut there = [0; 64];
        raw::read(at.into(), &mut there);
        self.0.say(format_args!("{name}:{}", Words(&there[..bytes])));
    }

    fn memory(&mut self, name: &str, command: u32, words: &[u32]) {
        self.call(name, xen::HYPERVISOR_memory_op, [command, ARGUMENT, 0, 0], words);
    }

    fn grant(&mut self, name: &str, command: u32, count: u32, words: &[u32]) {
        let arguments = [command, ARGUMENT, count, 0];
        self.call(name, xen::HYPERVISOR_grant_table_op, arguments, words);
    }

    fn vcpu(&mut self, name: &str, command: u32, number: u32, words: &[u32]) {
        self.call(
            name,
            xen::HYPERVISOR_vcpu_op,
            [command, number, ARGUMENT, 0],
            words,
        );
    }
}

fn places(to: &mut Caller<'_>) {
    let f = FRAMES;
    let add = mem::XENMEM_add_to_physmap;
    to.memory("shared info", add, &[SELF, mem::XENMAPSPACE_shared_info, 0, f]);
    to.memory(
        "shared info again",
        add,
        &[SELF, mem::XENMAPSPACE_shared_info, 1, f],
    );
    to.memory("table", add, &[SELF, mem::XENMAPSPACE_grant_table, 0, f + 1]);
    to.memory(
        "table too far",
        add,
        &[SELF, mem::XENMAPSPACE_grant_table, 5000, f + 1],
    );
    to.memory("frame", add, &[SELF, mem::XENMAPSPACE_gmfn, f + 2, f + 3]);
    to.memory("no frame", add, &[SELF, mem::XENMAPSPACE_gmfn, f + 2, f + 3]);
    to.memory(
        "range",
        add,
        &[SELF | 2 << 16, mem::XENMAPSPACE_gmfn_range, f + 4, f + 6],
    );
    to.memory("foreign", add, &[SELF, mem::XENMAPSPACE_gmfn_foreign, 0, f + 3]);
    to.memory("no such space", add, &[SELF, 77, 0, f + 3]);
    to.memory("nobody's", add, &[0x1234, 0, 0, f + 3]);
    put(LIST, &[f + 8, 0x70_0000, f + 9]);
    put(OTHER, &[f + 10, f + 11, f + 12]);
    put(AREA, &[9, 9, 9]);
    let batch = mem::XENMEM_add_to_physmap_batch;
    let space = mem::XENMAPSPACE_gmfn << 16;
    to.memory("batch", batch, &[SELF | space, 3, LIST, OTHER, AREA]);
    to.look("batch outcomes", AREA, 16);
    to.memory("batch nowhere", batch, &[SELF | space, 1, NOWHERE, OTHER, AREA]);
    to.memory("remove", mem::XENMEM_remove_from_physmap, &[SELF, f + 13]);
    to.memory("remove again", mem::XENMEM_remove_from_physmap, &[SELF, f + 13]);
}

fn reservations(to: &mut Caller<'_>) {
    let f = FRAMES + 16;
    let (more, less) = (mem::XENMEM_populate_physmap, mem::XENMEM_decrease_reservation);
    put(LIST, &[f, f + 1, f + 2, f + 4]);
    to.memory("decrease", less, &[LIST, 4, 0, 0, SELF]);
    to.memory("decrease again", less, &[LIST, 4, 0, 0, SELF]);
    to.memory("decrease the rest", less | 3 << 6, &[LIST, 4, 0, 0, SELF]);
    to.memory("populate", more, &[LIST, 4, 0, 0, SELF]);
    put(OTHER, &[f + 6]);
    to.memory("decrease two by two", less, &[OTHER, 1, 1, 0, SELF]);
    to.memory("populate two by two", more, &[OTHER, 1, 1, 0, SELF]);
    to.memory("populate too much", more, &[LIST, 1, 30, 0, SELF]);
    to.memory("populate nowhere", more, &[NOWHERE, 1, 0, 0, SELF]);
    to.memory("populate too many", more, &[LIST, 1 << 26, 0, 0, SELF]);
    to.memory("populate nobody", more, &[LIST, 1, 0, 0, 0x1234]);
    put(OTHER, &[f, f + 1]);
    let exchange = [LIST, 1, 0, 0, SELF, OTHER, 1, 0, 0, SELF, 0];
    to.memory("exchange", mem::XENMEM_exchange, &exchange);
    let unequal = [LIST, 1, 0, 0, SELF, OTHER, 2, 0, 0, SELF, 0];
    to.memory("exchange one for two", mem::XENMEM_exchange, &unequal);
    to.memory("claim", mem::XENMEM_claim_pages, &[0, 1, 0, 0, SELF]);
}

fn rest_of_memory(to: &mut Caller<'_>) {
    to.memory("map without room", mem::XENMEM_memory_map, &[0, LIST]);
    to.memory(
        "set map of nobody",
        mem::XENMEM_set_memory_map,
        &[0x1234, 1, LIST],
    );
    to.memory(
        "set map too long",
        mem::XENMEM_set_memory_map,
        &[SELF, 5000, LIST],
    );
    to.memory("machine map", mem::XENMEM_machine_memory_map, &[1, LIST]);
    to.memory("machphys list", mem::XENMEM_machphys_mfn_list, &[2, LIST, 9]);
    to.memory(
        "machphys list for 32 bits",
        mem::XENMEM_machphys_compat_mfn_list,
        &[2, LIST, 9],
    );
    to.memory("machphys mapping", mem::XENMEM_machphys_mapping, &[1, 2, 3]);
    to.memory(
        "devices",
        mem::XENMEM_reserved_device_memory_map,
        &[1, 4, LIST, 0],
    );
    to.memory(
        "devices, flags",
        mem::XENMEM_reserved_device_memory_map,
        &[2, 4, LIST, 0],
    );
    to.memory(
        "nodes",
        mem::XENMEM_get_vnumainfo,
        &[SELF, 1, 1, 1, 0, 0, 0, 0, 0, 0],
    );
    to.memory(
        "on demand",
        mem::XENMEM_get_pod_target,
        &[0, 0, 0, 0, 0, 0, 0, 0, SELF],
    );
    to.memory(
        "on demand, nobody",
        mem::XENMEM_get_pod_target,
        &[0, 0, 0, 0, 0, 0, 0, 0, 0x1234],
    );
    to.memory(
        "resource",
        mem::XENMEM_acquire_resource,
        &[SELF, 0, 1, 0, 0, 0, LIST],
    );
    to.memory(
        "access",
        mem::XENMEM_access_op,
        &[SELF << 16, 1, 0, 0, LIST, LIST],
    );
    to.memory(
        "access of nobody",
        mem::XENMEM_access_op,
        &[0x1234 << 16, 1, 0, 0, LIST, LIST],
    );
    to.memory("no such command", 63, &[0]);
    let nowhere = [mem::XENMEM_add_to_physmap, NOWHERE, 0, 0];
    to.call("argument nowhere", xen::HYPERVISOR_memory_op, nowhere, &[0]);
}

fn grants(to: &mut Caller<'_>) {
    let f = FRAMES;
    let setup = grant::GNTTABOP_setup_table;
    put(LIST, &[7, 7]);
    to.grant("set up", setup, 1, &[SELF, 1, 9, LIST]);
    to.look("set up, frames", LIST, 8);
    to.grant("set up too many", setup, 1, &[SELF, 5000, 9, LIST]);
    to.grant("set up nobody's", setup, 1, &[0x1234, 1, 9, LIST]);
    to.grant("set up none", setup, 0, &[SELF, 1, 9, LIST]);
    to.grant("set up two", setup, 2, &[SELF, 1, 9, LIST]);
    put((f + 20) << 12, &[1, 2]);
    let copy = grant::GNTTABOP_copy;
    let own = |frame, offset: u32| [frame, SELF | offset << 16];
    let words = |from: [u32; 2], to: [u32; 2], length: u32, flags: u32| {
        [from[0], from[1], to[0], to[1], length | flags << 16, 77]
    };
    to.grant("copy", copy, 1, &words(own(f + 20, 0), own(f + 21, 4), 8, 0));
    to.look("copy, there", ((f + 21) << 12) + 4, 8);
    let [one, two] = [0, 4].map(|offset| words(own(f + 20, offset), own(f + 22, offset), 4, 0));
    let mut both = [0; 12];
    both[..6].copy_from_slice(&one);
    both[6..].copy_from_slice(&two);
    to.grant("copy twice", copy, 2, &both);
    to.look("copy twice, there", (f + 22) << 12, 8);
    to.grant(
        "copy across",
        copy,
        1,
        &words(own(f + 20, 4090), own(f + 21, 0), 8, 0),
    );
    to.grant(
        "copy from nobody",
        copy,
        1,
        &words([8, 0x1234], own(f + 21, 0), 8, 1),
    );
    to.grant("transfer", grant::GNTTABOP_transfer, 1, &[f, 0, 8, 9]);
    to.grant(
        "status frames",
        grant::GNTTABOP_get_status_frames,
        1,
        &[1, SELF, LIST],
    );
    to.grant(
        "unmap nothing",
        grant::GNTTABOP_unmap_grant_ref,
        1,
        &[f << 12, 0, 0, 0, 5, 9],
    );
    to.grant("no such command", 99, 1, &[0]);
}

fn vcpus(to: &mut Caller<'_>) {
    let nobody = 500;
    put(AREA, &[]);
    to.vcpu("one-shot", vcpu::VCPUOP_set_singleshot_timer, 0, &[1, 0, 0]);
    to.vcpu(
        "one-shot of nobody",
        vcpu::VCPUOP_set_singleshot_timer,
        nobody,
        &[1, 0, 0],
    );
    to.vcpu("too fast", vcpu::VCPUOP_set_periodic_timer, 0, &[1, 0]);
    to.vcpu("periodic", vcpu::VCPUOP_set_periodic_timer, 0, &[1 << 30, 0]);
    to.vcpu("no beat", vcpu::VCPUOP_stop_periodic_timer, 0, &[0]);
    to.vcpu(
        "run states",
        vcpu::VCPUOP_register_runstate_memory_area,
        0,
        &[AREA, u32::MAX],
    );
    to.look("run states, the state", AREA, 4);
    to.look("run states, behind", AREA + 44, 8);
    to.0.yield_now();
    to.look("run states later, the state", AREA, 4);
    to.look("run states later, behind", AREA + 44, 8);
    to.vcpu(
        "time",
        vcpu::VCPUOP_register_vcpu_time_memory_area,
        0,
        &[AREA + 0x80, u32::MAX],
    );
    to.look("time, behind", AREA + 0x80 + 32, 8);
    let info = vcpu::VCPUOP_register_vcpu_info;
    let frame = AREA >> 12;
    to.vcpu("vcpu info, odd", info, 0, &[frame, 0, 0x202, 0]);
    to.vcpu("vcpu info, across", info, 0, &[frame, 0, 0xfe0, 0]);
    to.vcpu("vcpu info, nowhere", info, 0, &[NOWHERE >> 12, 0, 0x200, 0]);
    to.vcpu("vcpu info, at a word", info, 0, &[frame, 0, 0x204, 0]);
    to.vcpu("vcpu info again", info, 0, &[frame, 0, 0x200, 0]);
    to.vcpu("initialise again", vcpu::VCPUOP_initialise, 0, &[0; 32]);
    to.vcpu("is up", vcpu::VCPUOP_is_up, 0, &[0]);
}

fn others(to: &mut Caller<'_>) {
    put(LIST, &[500_000, 1]);
    let poll = [sched::SCHEDOP_poll, ARGUMENT, 0, 0];
    to.call(
        "poll until long ago",
        xen::HYPERVISOR_sched_op,
        poll,
        &[LIST, 0, 1, 0],
    );
    to.call(
        "poll no such port",
        xen::HYPERVISOR_sched_op,
        poll,
        &[LIST, 1, 1, 0],
    );
    to.call(
        "poll too many",
        xen::HYPERVISOR_sched_op,
        poll,
        &[LIST, 200, 1, 0],
    );
    to.call(
        "poll nowhere",
        xen::HYPERVISOR_sched_op,
        poll,
        &[NOWHERE, 1, 1, 0],
    );
    to.call("no timer", xen::HYPERVISOR_set_timer_op, [0, 0, 0, 0], &[]);
    let parameters = [version::XENVER_platform_parameters, ARGUMENT, 0, 0];
    to.call("platform", xen::HYPERVISOR_xen_version, parameters, &[9]);
    let entry = |op, first| [op, 7, first, 1, 2, 3, 4, 5];
    let mut batch = [0; 24];
    batch[..8].copy_from_slice(&entry(xen::HYPERVISOR_xen_version, version::XENVER_version));
    batch[8..16].copy_from_slice(&entry(63, 0));
    batch[16..].copy_from_slice(&entry(xen::HYPERVISOR_multicall, ARGUMENT));
    to.call(
        "batch of calls",
        xen::HYPERVISOR_multicall,
        [ARGUMENT, 3, 0, 0],
        &batch,
    );
    to.call(
        "batch nowhere",
        xen::HYPERVISOR_multicall,
        [NOWHERE, 1, 0, 0],
        &[],
    );
    for number in [38, 43, 50, 63, 127, u32::MAX] {
        to.call("no such call", number, [0; 4], &[]);
    }
}

fn narrow(guest: &mut Guest) -> Shutdown {
    if guest.bits() != 32 {
        guest.say(format_args!("this is for 32-bit code"));
        return Shutdown::Crash;
    }
    let mut to = Caller(guest);
    places(&mut to);
    reservations(&mut to);
    rest_of_memory(&mut to);
    grants(&mut to);
    vcpus(&mut to);
    others(&mut to);
    Shutdown::PowerOff
}

xenvisor_guests::guest!(narrow);
