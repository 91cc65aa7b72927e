//! Several policies as one: what all of them allow is allowed, and the first that denies says why.

use alloc::boxed::Box;

use super::{Policy, Request, Verdict};

macro_rules! all_of {
    ($($policy:ident $at:tt),*) => {
        impl<$($policy: Policy),*> Policy for ($($policy,)*) {
            // All methods come through here, and go to the members' own.
            fn otherwise(&self, request: &Request) -> Verdict {
                Verdict::Allow$(.and(request.ask(&self.$at)))*
            }
        }
    };
}

all_of!(A 0, B 1);
all_of!(A 0, B 1, C 2);
all_of!(A 0, B 1, C 2, D 3);
all_of!(A 0, B 1, C 2, D 3, E 4);
all_of!(A 0, B 1, C 2, D 3, E 4, F 5);

impl Policy for Box<dyn Policy> {
    fn otherwise(&self, request: &Request) -> Verdict {
        request.ask(self.as_ref())
    }
}
