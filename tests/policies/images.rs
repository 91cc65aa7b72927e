//! What the images of policies show, on the simulated machine and on QEMU's alike.
#![allow(dead_code, reason = "two test programs share it, and each uses what it needs")]

/// An image, what its guests say, and the reasons in the log.
pub struct Image {
    /// The name of the example.
    pub name: &'static str,
    /// Lines of guests.
    pub said: &'static [&'static str],
    /// Why something was denied.
    pub reasons: &'static [&'static str],
    /// What the image's guests were denied in all, as the log says it at their ends.
    pub summary: &'static [&'static str],
}

/// All of them. Each has an `intruder`, which tries, and a `neighbour`, which stays unharmed.
pub const ALL: [Image; 4] = [
    Image {
        name: "xen_default",
        said: &[
            "[intruder] domain 2: port offered yes, port bound yes",
            "[intruder] domain 2: page read yes, page written yes",
            "[intruder] domain 2: size known denied, shut down denied",
            "[intruder] the host's console: denied",
            "[neighbour] I am still here",
        ],
        reasons: &[
            "denied: to shut a domain down: only a privileged domain may",
            "denied: to ask about memory: only a privileged domain may act on another",
            "denied: to use the console of the host: only a privileged domain may",
        ],
        summary: &[
            "intruder was denied to ask about memory 1x, to shut a domain down 1x, to use the console of the host 1x",
        ],
    },
    Image {
        name: "silo",
        said: &[
            "[intruder] domain 1: port offered yes, port bound yes",
            "[intruder] domain 1: page read yes, page written yes",
            "[intruder] domain 3: port offered denied, port bound no",
            "[intruder] domain 3: page read denied, page written denied",
            "[hub] I am still here",
            "[neighbour] I am still here",
        ],
        reasons: &[
            "denied: to open a port: the two domains are kept apart",
            "denied: to map a grant: the two domains are kept apart",
        ],
        summary: &["to map a grant 2x", "neighbour was denied to open a port 1x"],
    },
    Image {
        name: "partitioned",
        said: &[
            "[reader] domain 1: port offered yes, port bound yes",
            "[reader] domain 1: page read yes, page written denied",
            "[reader] domain 3: port offered denied, port bound no",
            "[reader] domain 3: page read denied, page written denied",
            "[sensor] I am still here",
            "[vault] I am still here",
        ],
        reasons: &[
            "denied: to open a port: the description declares no channel between the two domains",
            "denied: to map a grant: the description declares no writable pages that the one shares with the other",
        ],
        summary: &["to map a grant 3x", "vault was denied to open a port 1x"],
    },
    Image {
        name: "read_only_grants",
        said: &[
            "[intruder] domain 2: page read yes, page written denied",
            "[neighbour] I am still here",
        ],
        reasons: &["denied: to map a grant: this image maps grants read-only"],
        summary: &["intruder was denied to map a grant 1x"],
    },
];

/// What is missing in what was said and logged; empty where all is there.
pub fn missing(image: &Image, said: &str, log: &str) -> Vec<&'static str> {
    let lost = |lines: &[&'static str], text: &str| -> Vec<&'static str> {
        lines
            .iter()
            .copied()
            .filter(|line| !text.contains(line))
            .collect()
    };
    let logged = [image.reasons, image.summary].concat();
    [lost(image.said, said), lost(&logged, log)].concat()
}
