//! An image without guests, for tests of the bare host: the command line says what to try.
//!
//! `host.try=NAME` picks one of the trials below; each ends the machine well, or the way its name says.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly; that is what it is for"
)]

#[cfg(not(target_os = "none"))]
fn main() {
    println!("this image tries the bare machine: build it for x86_64-unknown-none");
}

#[cfg(target_os = "none")]
mod bare {
    extern crate alloc;

    use alloc::string::String;
    use alloc::{format, vec};
    use core::hint::black_box;

    use core::sync::atomic::{AtomicU64, Ordering};

    use xenvisor::bare::host::Host;
    use xenvisor::bare::host::assemble::assemble;
    use xenvisor::bare::host::end::{End, end};
    use xenvisor_core::number::{MachineAddr, PcpuId};

    /// Where the direct map begins.
    const DIRECT_MAP: u64 = 0xffff_8000_0000_0000;

    // SAFETY: the host's start calls exactly this, with this signature, once.
    #[unsafe(no_mangle)]
    fn xenvisor_image_main(host: &'static Host) -> ! {
        let line = host.boot().command_line.as_str();
        let what = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("host.try="));
        match what.unwrap_or("nothing") {
            "nothing" => {}
            "panic" => panic!("as asked"),
            "overflow" => drop(black_box(deeper(1))),
            "null" => poke(8),
            "write-text" => poke(xenvisor_image_main as *const () as u64),
            "write-text-directly" => poke(DIRECT_MAP + xenvisor_image_main as *const () as u64),
            "write-module" => poke(host.modules()[0].bytes.as_ptr() as u64),
            "execute-data" => execute_data(),
            "undefined" => undefined(),
            "divide" => divide(),
            "time" => time(host),
            "echo" => echo(host),
            "processors" => processors(host),
            "memory" => memory(host),
            "heap" => heap(host),
            "modules" => modules(host),
            other => panic!("nothing called {other} to try"),
        }
        end(End::Well)
    }

    fn say(host: &Host, text: &str) {
        host.console_write(text.as_bytes());
        host.console_write(b"\r\n");
    }

    #[inline(never)]
    fn deeper(depth: u64) -> u64 {
        let room = black_box([depth; 128]);
        if black_box(depth) == 0 {
            0
        } else {
            black_box(deeper(depth + 1)) + room[5]
        }
    }

    fn poke(address: u64) {
        // SAFETY: none; it must fault.
        unsafe { (address as *mut u8).write_volatile(0) };
        panic!("{address:#x} was written");
    }

    fn execute_data() {
        let code = [0xc3_u8; 16];
        // SAFETY: none; it must fault.
        let call: extern "C" fn() = unsafe { core::mem::transmute(code.as_ptr()) };
        call();
        panic!("data was executed");
    }

    fn undefined() {
        // SAFETY: none; it must fault.
        unsafe { core::arch::asm!("ud2") };
    }

    fn divide() {
        // SAFETY: none; it must fault.
        unsafe { core::arch::asm!("div {0:e}", in(reg) 0, out("eax") _, out("edx") _) };
    }

    /// Every processor works, is itself, sleeps, and is woken by a kick.
    fn processors(host: &'static Host) {
        static AT_WORK: AtomicU64 = AtomicU64::new(0);
        static WOKEN: AtomicU64 = AtomicU64::new(0);
        let count = host.processors();
        let all = (1 << count) - 1;
        let work = |pcpu: PcpuId| {
            assert_eq!(pcpu, host.this_processor());
            AT_WORK.fetch_or(1 << pcpu.raw(), Ordering::SeqCst);
            host.sleep(host.now().after_ns(60_000_000_000));
            WOKEN.fetch_or(1 << pcpu.raw(), Ordering::SeqCst);
        };
        host.run_on_all(&work, &mut || {
            let until = host.now().after_ns(5_000_000_000);
            while AT_WORK.load(Ordering::SeqCst) != all & !1 && host.now() < until {}
            // Nobody can tell from outside that another one sleeps by now; a kick before counts as well as one after.
            for other in (1..).take(count - 1) {
                host.kick(PcpuId::new(other));
            }
            while WOKEN.load(Ordering::SeqCst) != all & !1 && host.now() < until {}
        });
        let (at_work, woken) = (AT_WORK.load(Ordering::SeqCst), WOKEN.load(Ordering::SeqCst));
        say(
            host,
            &format!("{count} processors: at work {at_work:#x}, woken {woken:#x}"),
        );
    }

    /// Sleeps have the length they should have, by the clock.
    fn time(host: &Host) {
        say(host, &format!("scale {:?}", host.time_scale()));
        say(
            host,
            &format!("wall {}", host.wall_clock_at_zero_ns() / 1_000_000_000),
        );
        for ms in [1_u64, 10, 100, 1000] {
            let start = host.now();
            let until = start.after_ns(ms * 1_000_000);
            let mut wakes = 0;
            while host.now() < until {
                host.sleep(until);
                wakes += 1;
            }
            let took = host.now().ns_since(start);
            say(host, &format!("slept {ms} ms in {took} ns with {wakes} wakes"));
            assert!(wakes < 5, "too many wakes");
        }
    }

    /// Says what is typed, until `q`.
    fn echo(host: &Host) {
        say(host, "ready");
        loop {
            while let Some(byte) = host.console_read() {
                host.console_write(&[byte.to_ascii_uppercase()]);
                if byte == b'q' {
                    return;
                }
            }
            host.sleep(host.now().after_ns(60_000_000_000));
        }
    }

    /// Free memory can be reached, and nothing else.
    fn memory(host: &Host) {
        let memory = &**host.memory();
        for range in host.free_memory() {
            say(host, &format!("free {:?} to {:?}", range.start, range.end));
        }
        let first = host.free_memory().last().unwrap().start.address().unwrap();
        let at = |offset| first.checked_add(offset).unwrap();
        memory.zero(first, 0x3000);
        memory.write(at(0x1001), b"hello, world");
        memory.copy(at(0x1000), at(0x1ffd), 20);
        let mut found = [1; 20];
        memory.read(at(0x1ffd), &mut found);
        assert_eq!(&found, b"\0hello, world\0\0\0\0\0\0\0");
        assert_eq!(memory.fetch_or(at(8), 0b101), 0);
        assert_eq!(memory.fetch_and(at(8), 0b110), 0b101);
        assert_eq!(memory.compare_exchange(at(8), 4, u64::MAX), Ok(4));
        assert_eq!(memory.compare_exchange(at(8), 4, 5), Err(u64::MAX));
        assert_eq!(memory.compare_exchange_32(at(12), u32::MAX, 7), Ok(u32::MAX));
        let text = xenvisor_image_main as *const () as u64;
        let outside = [
            0,
            0x1000,
            text,
            0x20_0000,
            0xfee0_0000,
            u64::MAX - 3,
            first.raw() - 4,
        ];
        for place in outside.map(MachineAddr::new) {
            let mut found = [1; 4];
            memory.write(place, &[9; 4]);
            memory.read(place, &mut found);
            assert_eq!(found, [0; 4], "{place}");
            assert_eq!(memory.fetch_or(place, 1), 0);
            memory.zero(place, 4);
        }
        // Half of it is ours.
        memory.write(MachineAddr::new(first.raw() - 4), &[1, 2, 3, 4, 5, 6, 7, 8]);
        let mut found = [9; 8];
        memory.read(MachineAddr::new(first.raw() - 4), &mut found);
        assert_eq!(found, [0, 0, 0, 0, 5, 6, 7, 8]);
        say(host, "memory is as it should be");
    }

    /// Small things come from the fixed region, large ones from the frames of the machine, and all go back.
    fn heap(host: &'static Host) {
        use xenvisor::bare::heap::small_bytes_in_use;
        let frames = assemble(host).unwrap().frames;
        let (small, free) = (small_bytes_in_use(), frames.free());
        let taken = || free - frames.free();

        let many: vec::Vec<String> = (0..1000).map(|i| format!("number {i}")).collect();
        assert!(many.iter().enumerate().all(|(i, s)| *s == format!("number {i}")));
        assert!(small_bytes_in_use() > small);
        drop(many);
        assert_eq!((small_bytes_in_use(), taken()), (small, 0));

        let mut large = vec![7_u8; (1 << 20) + 1];
        assert_eq!(taken(), 257);
        large.reserve_exact(4095);
        assert_eq!(taken(), 257);
        large.resize(3 << 20, 8);
        assert!(large.iter().take((1 << 20) + 1).all(|&byte| byte == 7));
        assert!(large.iter().skip((1 << 20) + 1).all(|&byte| byte == 8));
        large.truncate(5);
        large.shrink_to_fit();
        assert_eq!((&*large, taken()), (&[7; 5][..], 0));
        drop(large);
        assert_eq!(small_bytes_in_use(), small);

        let mut too_large = vec::Vec::<u8>::new();
        assert!(too_large.try_reserve_exact(1 << 40).is_err());
        say(host, "the heap is as it should be");
    }

    fn modules(host: &Host) {
        for module in host.modules() {
            say(
                host,
                &format!("module {}: {} bytes", module.name, module.bytes.len()),
            );
        }
    }
}
