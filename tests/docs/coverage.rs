//! `docs/coverage.md` has every operation of the public headers that a guest can utter, with its number; its tests
//! exist; and what it says is always refused is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use xenvisor::abi::HEADERS;
use xenvisor::abi::xen as abi;
use xenvisor::prelude::*;

use crate::world::{ARGUMENTS, World};
use crate::{all_tests, named_tests, root, rows};

const TABLE: &str = "docs/coverage.md";

/// The names by which the headers know operations, and the hypercall they belong to; none for hypercalls themselves.
const FAMILIES: [(&str, Option<u32>); 12] = [
    ("EVTCHNOP_", Some(abi::HYPERVISOR_event_channel_op)),
    ("GNTTABOP_", Some(abi::HYPERVISOR_grant_table_op)),
    ("XENMEM_", Some(abi::HYPERVISOR_memory_op)),
    ("HVMOP_", Some(abi::HYPERVISOR_hvm_op)),
    ("SCHEDOP_", Some(abi::HYPERVISOR_sched_op)),
    ("VCPUOP_", Some(abi::HYPERVISOR_vcpu_op)),
    ("XENVER_", Some(abi::HYPERVISOR_xen_version)),
    ("PHYSDEVOP_", Some(abi::HYPERVISOR_physdev_op)),
    ("VMASST_CMD_", Some(abi::HYPERVISOR_vm_assist)),
    ("CONSOLEIO_", Some(abi::HYPERVISOR_console_io)),
    ("XENPMU_", Some(abi::HYPERVISOR_xenpmu_op)),
    ("XEN_ARGO_OP_", Some(abi::HYPERVISOR_argo_op)),
];

/// Numbers of such names that are no operations of their own.
const NO_OPERATIONS: [&str; 12] = [
    "XENMEM_resource_",
    "XENMEM_RESOURCE_",
    "XENMEM_access_",
    "XENMEM_paging_op_",
    "XENMEM_sharing_op_",
    "HVMOP_altp2m_",
    "HVMOP_ALTP2M_",
    "PHYSDEVOP_DBGP_",
    "XENPMU_VER_",
    "XENPMU_CTXT_",
    "XENPMU_REGS_",
    "XENPMU_MODE_",
];

/// Numbers that a guest may utter and the headers do not name (any more).
const UNNAMED: [(&str, u32, &[u32]); 2] = [
    ("event_channel_op", abi::HYPERVISOR_event_channel_op, &[14]),
    (
        "hvm_op",
        abi::HYPERVISOR_hvm_op,
        &[2, 3, 4, 6, 7, 8, 14, 16, 17, 18, 19, 20, 21, 22],
    ),
];

/// An operation: the hypercall, and the command if there are several.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Operation {
    hypercall: u32,
    command: Option<u32>,
}

impl Operation {
    fn number(self) -> u32 {
        self.command.unwrap_or(self.hypercall)
    }
}

/// Every operation there is, by name.
fn operations() -> BTreeMap<String, Operation> {
    let mut all = BTreeMap::new();
    for constant in HEADERS.iter().flat_map(|header| header.constants) {
        let Ok(number) = u32::try_from(constant.value) else {
            continue;
        };
        let call = constant.c.strip_prefix("__HYPERVISOR_").unwrap_or_default();
        if call.starts_with(|first: char| first.is_ascii_lowercase()) {
            let operation = Operation {
                hypercall: number,
                command: None,
            };
            all.insert(format!("HYPERVISOR_{call}"), operation);
            continue;
        }
        let family = FAMILIES.iter().find(|(prefix, _)| constant.c.starts_with(prefix));
        let none = constant.c != "XENMEM_access_op"
            && NO_OPERATIONS.iter().any(|prefix| constant.c.starts_with(prefix));
        if let Some((_, Some(hypercall))) = family
            && !none
        {
            let command = Some(number);
            all.insert(
                constant.c.to_owned(),
                Operation {
                    hypercall: *hypercall,
                    command,
                },
            );
        }
    }
    for (name, hypercall, commands) in UNNAMED {
        for command in commands {
            let operation = Operation {
                hypercall,
                command: Some(*command),
            };
            all.insert(format!("{name}:{command}"), operation);
        }
    }
    all
}

/// A row: names with numbers, the answer, the tests.
struct Row {
    names: Vec<(String, u32)>,
    answer: String,
    tests: Vec<String>,
}

fn table() -> Vec<Row> {
    let text = fs::read_to_string(root().join(TABLE)).unwrap();
    let read = |cells: Vec<&str>| {
        let [names, numbers, answer, tests] = cells.as_slice() else {
            panic!("four cells: {cells:?}");
        };
        let names: Vec<_> = names
            .split(", ")
            .map(|name| name.trim_matches('`').to_owned())
            .collect();
        let numbers: Vec<u32> = numbers
            .split(", ")
            .map(|number| number.parse().unwrap())
            .collect();
        assert_eq!(names.len(), numbers.len(), "a number for each name: {names:?}");
        Row {
            names: names.into_iter().zip(numbers).collect(),
            answer: (*answer).to_owned(),
            tests: tests
                .split(", ")
                .map(|name| name.trim_matches('`').to_owned())
                .collect(),
        }
    };
    rows(&text).into_iter().map(read).collect()
}

#[test]
fn every_operation_has_one_row_with_its_number() {
    let operations = operations();
    assert!(operations.len() > 150, "only {} operations", operations.len());
    let mut seen = BTreeSet::new();
    for (name, number) in table().into_iter().flat_map(|row| row.names) {
        let known = operations.get(&name).map(|operation| operation.number());
        assert_eq!(known, Some(number), "{name}");
        assert!(seen.insert(name.clone()), "{name} has two rows");
    }
    let missing: Vec<_> = operations.keys().filter(|name| !seen.contains(*name)).collect();
    assert!(
        missing.is_empty(),
        "operations without a row in {TABLE}: {missing:?}"
    );
}

#[test]
fn every_row_names_tests_and_each_exists() {
    let tests = all_tests();
    for row in table() {
        assert!(!row.tests.is_empty(), "no test: {:?}", row.names);
        let lost: Vec<_> = row.tests.iter().filter(|name| !tests.contains(*name)).collect();
        assert!(lost.is_empty(), "{:?}: no such test: {lost:?}", row.names);
    }
    let text = fs::read_to_string(root().join(TABLE)).unwrap();
    let lost: Vec<_> = named_tests(&text)
        .into_iter()
        .filter(|name| !tests.contains(*name))
        .collect();
    assert!(lost.is_empty(), "no such test: {lost:?}");
}

/// The error that a row says is always given.
fn promised(answer: &str) -> Option<i64> {
    let name = answer.strip_prefix("always `-")?.split('`').next()?;
    let constants = HEADERS
        .iter()
        .filter(|header| header.file == "errno.h")
        .flat_map(|header| header.constants);
    let number = constants
        .into_iter()
        .find(|constant| constant.c == format!("XEN_{name}"));
    Some(-i64::try_from(number.unwrap_or_else(|| panic!("{name} is no error")).value).unwrap())
}

#[test]
fn every_refusal_that_the_table_promises_is_given() {
    let world = World::new(1, XenDefault::default());
    let operations = operations();
    let mut asked = 0;
    for row in table() {
        let Some(errno) = promised(&row.answer) else {
            continue;
        };
        for (name, _) in row.names {
            let operation = operations[&name];
            for argument in [0_u16, 1, abi::DOMID_SELF, u16::MAX] {
                world.put(1, ARGUMENTS, &[argument; 64]);
                let arguments: [u64; 3] = match (operation.hypercall, operation.command) {
                    (abi_vcpu, Some(command)) if abi_vcpu == abi::HYPERVISOR_vcpu_op => {
                        [command.into(), 0, ARGUMENTS]
                    }
                    (_, Some(command)) => [command.into(), ARGUMENTS, 1],
                    (_, None) => [ARGUMENTS, ARGUMENTS, ARGUMENTS],
                };
                let result = world.call(1, operation.hypercall, &arguments);
                assert_eq!(result, errno, "{name} with {argument:#x} everywhere");
                asked += 1;
            }
        }
    }
    assert!(asked > 300, "only {asked} calls");
}
