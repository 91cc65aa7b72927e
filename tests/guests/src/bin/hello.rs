//! Says hello, and that it is done.
#![cfg_attr(bare, no_std, no_main)]

use xenvisor_guests::prelude::*;

fn hello(guest: &mut Guest) -> Shutdown {
    let line = guest.command_line();
    guest.say(format_args!("hello; my command line is {line:?}"));
    Shutdown::PowerOff
}

xenvisor_guests::guest!(hello);
