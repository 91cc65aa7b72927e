//! Events, as a guest's kernel receives them: by 2-level bitmaps or FIFO queues, told by an upcall.
//!
//! The interrupt handler empties what is pending into a list of ports; the program takes ports from there. Between its
//! look at the list and its sleep nothing can be missed, since the two are one step with interrupts off.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use xenvisor_abi::event_channel as abi;
use xenvisor_abi::memory::XENMAPSPACE_shared_info;
use xenvisor_abi::xen::{DOMID_SELF, HYPERVISOR_event_channel_op};

use super::{Ending, Refused, SimGuest, handler};

/// Offsets in a `vcpu_info`.
const PENDING: u64 = 0;
const SELECTOR: u64 = 8;
/// Offsets in the shared info page.
const PENDING_BITS: u64 = 2048;
const MASK_BITS: u64 = 2560;
/// Bytes of a `vcpu_info`.
const VCPU_INFO: u64 = 64;
/// Event words in a page.
const WORDS: u32 = 1024;

const FIFO_PENDING: u32 = 1 << abi::EVTCHN_FIFO_PENDING;
const FIFO_MASKED: u32 = 1 << abi::EVTCHN_FIFO_MASKED;
const FIFO_LINKED: u32 = 1 << abi::EVTCHN_FIFO_LINKED;

/// How pending events are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// By bitmaps in the shared info page.
    TwoLevel,
    /// By queues of event words.
    Fifo,
}

/// A vcpu's events. Clones are the same.
#[derive(Clone)]
pub struct Events {
    delivery: Delivery,
    /// Where the shared info page is.
    shared_info: u64,
    /// Where this vcpu's `vcpu_info` is.
    info: u64,
    /// Where the pages of FIFO delivery are: the control block, then the event words.
    fifo: u64,
    inbox: Arc<Mutex<Inbox>>,
}

#[derive(Default)]
struct Inbox {
    /// Ports that were pending, in the order in which they came.
    came: VecDeque<u32>,
    /// Pages of event words there are.
    pages: u32,
}

impl Events {
    /// Sets event delivery up, in four free guest frames from `page` on: with the shared info page there for bitmaps,
    /// with this vcpu's own `vcpu_info` there for queues. Upcalls come at `vector`; interrupts are on afterwards.
    ///
    /// # Errors
    /// When the hypervisor refuses a step.
    pub async fn set_up(
        guest: &SimGuest,
        delivery: Delivery,
        page: u64,
        vector: u8,
    ) -> Result<Self, Refused> {
        let at = page << 12;
        let vcpu = guest.vcpu().raw();
        let info = at + u64::from(vcpu) * VCPU_INFO;
        let events = Self {
            delivery,
            shared_info: at,
            info,
            fifo: at + 4096,
            inbox: Arc::default(),
        };
        match delivery {
            Delivery::TwoLevel => {
                guest.add_to_physmap(XENMAPSPACE_shared_info, 0, page).await?;
            }
            Delivery::Fifo => {
                guest.register_vcpu_info(info).await?;
                let mut control = abi::InitControl {
                    control_gfn: events.fifo >> 12,
                    vcpu,
                    ..abi::InitControl::default()
                };
                guest
                    .event_op("init_control", abi::EVTCHNOP_init_control, &mut control)
                    .await?;
            }
        }
        events.take_upcalls(guest, vector).await?;
        Ok(events)
    }

    /// Where this vcpu's `vcpu_info` is.
    #[must_use]
    pub const fn info(&self) -> u64 {
        self.info
    }

    /// Handles upcalls at `vector`, and lets interrupts come.
    ///
    /// # Errors
    /// When the hypervisor refuses the vector.
    pub async fn take_upcalls(&self, guest: &SimGuest, vector: u8) -> Result<(), Refused> {
        let events = self.clone();
        let code = move |guest| {
            let events = events.clone();
            async move { events.upcall(&guest).await }
        };
        guest.on_interrupt(vector, handler(code)).await;
        guest.set_upcall_vector(vector).await?;
        guest.set_interrupts(true).await;
        Ok(())
    }

    fn inbox<R>(&self, with: impl FnOnce(&mut Inbox) -> R) -> R {
        with(&mut self.inbox.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes a port deliver: a new one of FIFO delivery is masked, and may lie on a page that is not there yet.
    ///
    /// # Errors
    /// When the hypervisor refuses a page of event words.
    pub async fn open(&self, guest: &SimGuest, port: u32) -> Result<(), Refused> {
        while self.delivery == Delivery::Fifo && port / WORDS >= self.inbox(|inbox| inbox.pages) {
            let page = self.inbox(|inbox| {
                inbox.pages += 1;
                inbox.pages
            });
            let at = self.fifo + u64::from(page) * 4096;
            for word in 0..512 {
                let masked = u64::from(FIFO_MASKED) << 32 | u64::from(FIFO_MASKED);
                guest.put(at + word * 8, &masked).await;
            }
            let mut argument = abi::ExpandArray { array_gfn: at >> 12 };
            guest
                .event_op("expand_array", abi::EVTCHNOP_expand_array, &mut argument)
                .await?;
        }
        let mut unmask = abi::Unmask { port };
        guest
            .event_op("unmask", abi::EVTCHNOP_unmask, &mut unmask)
            .await?;
        Ok(())
    }

    /// The next port at which an event came. Sleeps until there is one.
    pub async fn next(&self, guest: &SimGuest) -> u32 {
        loop {
            guest.set_interrupts(false).await;
            if let Some(port) = self.inbox(|inbox| inbox.came.pop_front()) {
                guest.set_interrupts(true).await;
                return port;
            }
            guest.wait_for_interrupt().await;
        }
    }

    /// Sleeps until an event comes at this port. Those at others are dropped.
    pub async fn wait(&self, guest: &SimGuest, port: u32) {
        while self.next(guest).await != port {}
    }

    /// The interrupt handler: empties what is pending.
    async fn upcall(&self, guest: &SimGuest) -> Ending {
        // The flag first: what comes later raises it, and the upcall, again.
        guest.put(self.info + PENDING, &0_u8).await;
        match self.delivery {
            Delivery::TwoLevel => self.scan_bits(guest).await,
            Delivery::Fifo => self.scan_queues(guest).await,
        }
        Ok(())
    }

    async fn scan_bits(&self, guest: &SimGuest) {
        let mut selector = guest.change(self.info + SELECTOR, |_| 0).await;
        while selector != 0 {
            let word = u64::from(selector.trailing_zeros());
            selector &= selector - 1;
            let mask: u64 = guest.get(self.shared_info + MASK_BITS + word * 8).await;
            let at = self.shared_info + PENDING_BITS + word * 8;
            let mut pending = guest.change(at, |bits| bits & mask).await & !mask;
            while pending != 0 {
                let port = word * 64 + u64::from(pending.trailing_zeros());
                pending &= pending - 1;
                let port = u32::try_from(port).unwrap_or(0);
                self.inbox(|inbox| inbox.came.push_back(port));
            }
        }
    }

    async fn scan_queues(&self, guest: &SimGuest) {
        loop {
            let ready = guest.change_half(self.fifo, |_| 0).await;
            if ready == 0 {
                return;
            }
            for queue in (0..abi::EVTCHN_FIFO_MAX_QUEUES).filter(|queue| ready >> queue & 1 != 0) {
                self.empty_queue(guest, queue).await;
            }
        }
    }

    /// Takes ports off a queue until it is empty. Where it begins is in the control block; from there on, each word
    /// names the next.
    async fn empty_queue(&self, guest: &SimGuest, queue: u32) {
        let mut head: u32 = guest.get(self.fifo + 8 + u64::from(queue) * 4).await;
        while head != 0 {
            let word = self.fifo + 4096 + u64::from(head) * 4;
            // It leaves the queue and its link is taken in one step: what is linked later starts a new queue.
            let keep = !(FIFO_LINKED | abi::EVTCHN_FIFO_LINK_MASK);
            let old = guest.change_half(word, |word| word & keep).await;
            if old & FIFO_MASKED == 0
                && guest.change_half(word, |word| word & !FIFO_PENDING).await & FIFO_PENDING != 0
            {
                self.inbox(|inbox| inbox.came.push_back(head));
            }
            head = old & abi::EVTCHN_FIFO_LINK_MASK;
        }
    }
}

impl SimGuest {
    /// An operation on event channels.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn event_op<T>(
        &self,
        name: &'static str,
        command: u32,
        argument: &mut T,
    ) -> Result<u64, Refused>
    where
        T: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable,
    {
        self.call_with(name, HYPERVISOR_event_channel_op, command, argument)
            .await
    }

    /// A port to which the other domain may bind.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn offer_port(&self, to: u16) -> Result<u32, Refused> {
        let mut argument = abi::AllocUnbound {
            dom: DOMID_SELF,
            remote_dom: to,
            port: 0,
        };
        self.event_op("alloc_unbound", abi::EVTCHNOP_alloc_unbound, &mut argument)
            .await?;
        Ok(argument.port)
    }

    /// A port of one's own, bound to another domain's.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn bind_port(&self, remote: u16, port: u32) -> Result<u32, Refused> {
        let mut argument = abi::BindInterdomain {
            remote_dom: remote,
            remote_port: port,
            ..abi::BindInterdomain::default()
        };
        self.event_op("bind_interdomain", abi::EVTCHNOP_bind_interdomain, &mut argument)
            .await?;
        Ok(argument.local_port)
    }

    /// A port at which a virtual interrupt of this vcpu arrives.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn bind_virq(&self, virq: u32) -> Result<u32, Refused> {
        let vcpu = self.vcpu().raw();
        let mut argument = abi::BindVirq { virq, vcpu, port: 0 };
        self.event_op("bind_virq", abi::EVTCHNOP_bind_virq, &mut argument)
            .await?;
        Ok(argument.port)
    }

    /// Sends an event.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn send_event(&self, port: u32) -> Result<(), Refused> {
        let mut argument = abi::Send { port };
        self.event_op("send", abi::EVTCHNOP_send, &mut argument).await?;
        Ok(())
    }
}
