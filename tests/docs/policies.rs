//! `docs/policies.md` lists every act that policies are asked about, in words and with Xen's answer.

use std::fs;

use xenvisor::model::policy::{Act, Needs};

use crate::{root, rows};

const GUIDE: &str = "docs/policies.md";

fn answer(needs: Needs) -> &'static str {
    match needs {
        Needs::Nothing => "yes: the other has named the caller",
        Needs::Oneself => "to itself",
        Needs::Privilege => "no",
    }
}

#[test]
fn the_guide_to_policies_lists_every_act() {
    let text = fs::read_to_string(root().join(GUIDE)).unwrap();
    let (_, acts) = text.split_once("## What is asked about").unwrap();
    let listed: Vec<(String, String)> = rows(acts)
        .iter()
        .map(|row| (row[0].to_owned(), row[2].to_owned()))
        .collect();
    let expected: Vec<(String, String)> = Act::ALL
        .iter()
        .map(|act| {
            let name = format!("`{act:?}`: {}", act.words());
            (name, answer(act.needs()).to_owned())
        })
        .collect();
    assert_eq!(listed, expected, "{GUIDE}");
}

#[test]
fn every_image_that_the_guide_names_exists() {
    let text = fs::read_to_string(root().join(GUIDE)).unwrap();
    let images = text.split('`').filter(|word| word.starts_with("examples/"));
    let lost: Vec<_> = images
        .filter(|image| !root().join(image).join("main.rs").is_file())
        .collect();
    assert!(lost.is_empty(), "{lost:?}");
}
