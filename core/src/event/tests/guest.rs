//! What a guest's kernel does with shared words, by the public headers.

use std::vec::Vec;

use super::world::Domain;
use crate::event::upcall::selector;
use crate::event::words::{self, Bits};
use crate::event::{Upcalls, expand_array, init_control};
use crate::memory::guest_page::GuestPage;
use crate::number::{MachineAddr, Port, VcpuId};

/// The kernel of a domain that is told in the 2-level way.
pub(super) struct TwoLevelKernel<'a>(pub(super) &'a Domain);

impl TwoLevelKernel<'_> {
    fn at(&self, offset: u64) -> Bits<'_> {
        let base = self.0.shared_info().raw();
        Bits::new(&*self.0.memory, MachineAddr::new(base + offset))
    }

    pub(super) fn pending(&self) -> Bits<'_> {
        self.at(2048)
    }

    pub(super) fn mask(&self) -> Bits<'_> {
        self.at(if selector(self.0.width).1 == 64 {
            2560
        } else {
            2176
        })
    }

    pub(super) fn selector(&self, vcpu: VcpuId) -> u64 {
        let (offset, bits) = selector(self.0.width);
        let at = MachineAddr::new(self.0.vcpu_info(vcpu).unwrap().raw() + offset);
        let mut word = [0; 8];
        self.0.memory.read(at, &mut word[..bits as usize / 8]);
        u64::from_le_bytes(word)
    }

    /// Handles an upcall: takes every unmasked event of the selected words.
    pub(super) fn upcall(&self, vcpu: VcpuId) -> Vec<Port> {
        let (offset, bits) = selector(self.0.width);
        let info = self.0.vcpu_info(vcpu).unwrap();
        self.0.memory.write(info, &[0]);
        let selector = Bits::new(&*self.0.memory, MachineAddr::new(info.raw() + offset));
        let mut taken = Vec::new();
        for word in (0..bits).filter(|word| selector.clear(*word)) {
            for port in word * bits..(word + 1) * bits {
                if self.pending().test(port) && !self.mask().test(port) {
                    self.pending().clear(port);
                    taken.push(Port::new(port));
                }
            }
        }
        taken
    }
}

const PENDING: u32 = 1 << 31;
const MASKED: u32 = 1 << 30;
const LINKED: u32 = 1 << 29;
const LINK: u32 = (1 << 17) - 1;

/// The kernel of a domain that is told in the FIFO way.
pub(super) struct FifoKernel<'a> {
    domain: &'a Domain,
    controls: Vec<MachineAddr>,
    pages: Vec<MachineAddr>,
    /// The head of each queue as the kernel remembers it, by vcpu and priority.
    heads: Vec<[u32; 16]>,
    page_holders: Vec<GuestPage>,
}

impl<'a> FifoKernel<'a> {
    /// Gives each vcpu a control block and adds one page of event words.
    pub(super) fn start(domain: &'a Domain) -> Self {
        let mut kernel = Self::without_words(domain);
        kernel.expand();
        kernel
    }

    /// Gives each vcpu a control block only.
    pub(super) fn without_words(domain: &'a Domain) -> Self {
        let mut kernel = Self {
            domain,
            controls: Vec::new(),
            pages: Vec::new(),
            heads: Vec::new(),
            page_holders: Vec::new(),
        };
        for vcpu in 0..domain.infos.len() as u32 {
            kernel.init_control(VcpuId::new(vcpu));
        }
        kernel
    }

    fn init_control(&mut self, vcpu: VcpuId) {
        let (page, again) = self.page();
        let offset = 64;
        assert_eq!(
            init_control::<_, ()>(self.domain, vcpu, offset, || Ok(page)),
            Ok(17)
        );
        self.controls.push(again.address(u64::from(offset)));
        self.heads.push([0; 16]);
        self.page_holders.push(again);
    }

    pub(super) fn expand(&mut self) {
        let (page, again) = self.page();
        assert_eq!(expand_array::<_, ()>(self.domain, || Ok(page)), Ok(()));
        self.pages.push(again.address(0));
        self.page_holders.push(again);
    }

    /// A page held twice, so that the kernel knows where it is.
    fn page(&self) -> (GuestPage, GuestPage) {
        let page = self.domain.page();
        let mfn = page.address(0).frame();
        let again = GuestPage::of_frame(&self.domain.frames, self.domain.id, mfn).unwrap();
        (page, again)
    }

    pub(super) fn word_at(&self, port: Port) -> MachineAddr {
        let page = self.pages[port.raw() as usize / 1024];
        MachineAddr::new(page.raw() + u64::from(port.raw() % 1024) * 4)
    }

    pub(super) fn control_at(&self, vcpu: VcpuId) -> MachineAddr {
        self.controls[vcpu.raw() as usize]
    }

    pub(super) fn word(&self, port: Port) -> u32 {
        words::read(&*self.domain.memory, self.word_at(port))
    }

    pub(super) fn is_linked(&self, port: Port) -> bool {
        self.word(port) & LINKED != 0
    }

    pub(super) fn is_masked(&self, port: Port) -> bool {
        self.word(port) & MASKED != 0
    }

    pub(super) fn mask(&self, port: Port) {
        words::set_bits(&*self.domain.memory, self.word_at(port), MASKED);
    }

    /// Handles an upcall: takes ports off the queues, most urgent first, and says which were pending and unmasked.
    pub(super) fn upcall(&mut self, vcpu: VcpuId) -> Vec<Port> {
        let memory = &*self.domain.memory;
        memory.write(self.domain.vcpu_info(vcpu).unwrap(), &[0]);
        let control = self.control_at(vcpu);
        let mut ready = words::clear_bits(memory, control, u32::MAX);
        let mut taken = Vec::new();
        while ready != 0 {
            let queue = ready.trailing_zeros();
            let at = MachineAddr::new(control.raw() + 8 + u64::from(queue) * 4);
            let head = &mut self.heads[vcpu.raw() as usize][queue as usize];
            if *head == 0 {
                *head = words::read(memory, at);
            }
            let port = Port::new(*head);
            let page = self.pages[port.raw() as usize / 1024];
            let word = MachineAddr::new(page.raw() + u64::from(port.raw() % 1024) * 4);
            let old = words::clear_bits(memory, word, LINKED | LINK);
            *head = old & LINK;
            if *head == 0 {
                ready &= !(1 << queue);
            }
            if old & PENDING != 0 && old & MASKED == 0 {
                words::clear_bits(memory, word, PENDING);
                taken.push(port);
            }
            ready |= words::clear_bits(memory, control, u32::MAX);
        }
        taken
    }
}
