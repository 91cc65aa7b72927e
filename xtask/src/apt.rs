//! Debian packages without touching the system: apt with folders of its own, so that no root is needed, the machine's
//! package lists stay as they are, and every file is still checked against Debian's signatures.
//!
//! The mirror is the one this machine already uses. Must never change anything outside its folder.

use crate::progress::{self, Step};
use crate::workspace;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The Debian whose packages everything here was tried with.
pub const RELEASE: &str = "bookworm";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Which packages to look among.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// The release with its security updates.
    Release,
    /// What was built for the release from newer sources.
    Backports,
}

impl Suite {
    const fn folder(self) -> &'static str {
        match self {
            Suite::Release => "apt",
            Suite::Backports => "apt-backports",
        }
    }
}

/// apt, in its own folder.
#[derive(Debug)]
pub struct Apt {
    options: Vec<OsString>,
}

impl Apt {
    /// Ready to look up and download packages of `suite`; fetches the lists once a cache.
    pub fn open(suite: Suite) -> Result<Apt> {
        if !tool_exists("apt-get") || !tool_exists("dpkg-deb") {
            bail!(
                "this machine has no apt, so Debian packages cannot be fetched; \
                 give the files instead: --kernel and --initrd"
            );
        }
        let folder = workspace::cache_dir()?.join(suite.folder());
        for part in ["state/lists/partial", "cache/archives/partial", "empty"] {
            let part = folder.join(part);
            std::fs::create_dir_all(&part).with_context(|| format!("cannot create {}", part.display()))?;
        }
        let apt = Apt {
            options: options(&folder),
        };
        let sources = sources(suite, &known_repositories()?);
        let list = folder.join("sources.list");
        let fresh = folder.join("fetched");
        if !fresh.exists() || std::fs::read_to_string(&list).ok().as_ref() != Some(&sources) {
            std::fs::write(&list, &sources).with_context(|| format!("cannot write {}", list.display()))?;
            progress::run(
                "fetching Debian's package lists",
                apt.command("apt-get").args([
                    "-q",
                    "-o",
                    "APT::Status-Fd=1",
                    "-o",
                    "Acquire::Retries=3",
                    "update",
                ]),
            )?;
            std::fs::write(&fresh, b"").with_context(|| format!("cannot write {}", fresh.display()))?;
        }
        Ok(apt)
    }

    /// The package behind `package`, when that is only a name for the newest of its kind; its own name otherwise.
    pub fn resolve(&self, package: &str, real_prefix: &str) -> Result<String> {
        let shown = self
            .command("apt-cache")
            .args(["show", "--no-all-versions", package])
            .output()
            .context("cannot run apt-cache")?;
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        if shown.trim().is_empty() {
            bail!("Debian {RELEASE} has no package {package}");
        }
        let real = shown
            .lines()
            .find_map(|line| line.strip_prefix("Depends:"))
            .and_then(|depends| {
                depends
                    .split([',', ' '])
                    .find(|word| word.starts_with(real_prefix) && *word != package)
            });
        Ok(real.unwrap_or(package).to_owned())
    }

    /// Downloads `packages` into `folder` and answers with the files there.
    pub fn download(&self, what: &str, packages: &[String], folder: &Path) -> Result<Vec<PathBuf>> {
        progress::run(
            what,
            self.command("apt-get")
                .args([
                    "-q",
                    "-o",
                    "APT::Status-Fd=1",
                    "-o",
                    "Acquire::Retries=3",
                    "download",
                ])
                .args(packages)
                .current_dir(folder),
        )?;
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry
                .with_context(|| format!("cannot read {}", folder.display()))?
                .path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                files.push(path);
            }
        }
        Ok(files)
    }

    /// The packages that `packages` need and that this machine has not installed, themselves included.
    pub fn missing_for(&self, packages: &[&str]) -> Result<Vec<String>> {
        let output = self
            .command("apt-get")
            .args([
                "-o",
                "Dir::State::status=/var/lib/dpkg/status",
                "-o",
                "Debug::NoLocking=1",
            ])
            .args(["--simulate", "--no-install-recommends", "install"])
            .args(packages)
            .output()
            .context("cannot run apt-get")?;
        if !output.status.success() {
            bail!(
                "apt-get cannot install {}: {}",
                packages.join(" "),
                String::from_utf8_lossy(&output.stderr).trim_end()
            );
        }
        let packages: Vec<String> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next().map(str::to_owned))
            .collect();
        Ok(packages)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options).env("LC_ALL", "C.UTF-8");
        command
    }
}

/// Unpacks what is below `member` (`./` for all) of a package into `folder`.
pub fn unpack(package: &Path, member: &str, folder: &Path) -> Result<()> {
    let name = package.file_name().unwrap_or_default().display();
    let _step = Step::begin(&format!("unpacking {name}"));
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut reader = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        // It complains of a closed pipe when tar has found what it wants; tar's verdict is the one that counts.
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run dpkg-deb")?;
    let stream = reader.stdout.take().context("dpkg-deb gives no output")?;
    let output = Command::new("tar")
        .args(["--extract", "--no-same-owner", "--file=-", "--directory"])
        .arg(folder)
        .arg(member)
        .stdin(stream)
        .output()
        .context("cannot run tar")?;
    reader.wait().context("lost dpkg-deb")?;
    if !output.status.success() {
        bail!(
            "cannot unpack {name}: {}",
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(())
}

/// Whether a program of that name can be started.
pub fn tool_exists(name: &str) -> bool {
    find_tool(name).is_some()
}

/// Where a program of that name is.
pub fn find_tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // A user's PATH on Debian lacks the last two, and some of what is looked for lives there.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// What makes apt keep to `folder`.
fn options(folder: &Path) -> Vec<OsString> {
    let set = |name: &str, path: PathBuf| {
        let mut option = OsString::from(format!("{name}="));
        option.push(path);
        option
    };
    let settings = [
        set("Dir::State", folder.join("state")),
        set("Dir::State::status", "/dev/null".into()),
        set("Dir::Cache", folder.join("cache")),
        set("Dir::Etc::sourcelist", folder.join("sources.list")),
        set("Dir::Etc::sourceparts", folder.join("empty")),
        set("Dir::Etc::preferences", "/dev/null".into()),
        set("Dir::Etc::preferencesparts", folder.join("empty")),
        "APT::Architecture=amd64".into(),
        // As root, apt would download as a user who may not write here.
        "APT::Sandbox::User=root".into(),
        "APT::Get::List-Cleanup=0".into(),
    ];
    settings
        .into_iter()
        .flat_map(|setting| ["-o".into(), setting])
        .collect()
}

/// One package archive this machine knows: where, and which release of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Repository {
    uri: String,
    release: String,
}

/// The archives with a `main` part in this machine's own configuration.
fn known_repositories() -> Result<Vec<Repository>> {
    let output = Command::new("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(REPO_URI) $(RELEASE) $(COMPONENT)",
            "Created-By: Packages",
        ])
        .output()
        .context("cannot run apt-get")?;
    Ok(parse_repositories(&String::from_utf8_lossy(&output.stdout)))
}

fn parse_repositories(targets: &str) -> Vec<Repository> {
    let mut found = Vec::new();
    for line in targets.lines() {
        let mut words = line.split_whitespace();
        if let (Some(uri), Some(release), Some("main")) = (words.next(), words.next(), words.next()) {
            let repository = Repository {
                uri: uri.to_owned(),
                release: release.to_owned(),
            };
            if !found.contains(&repository) {
                found.push(repository);
            }
        }
    }
    found
}

/// The sources list for `suite`, from the mirrors in `known`.
fn sources(suite: Suite, known: &[Repository]) -> String {
    let own = known.iter().find(|known| known.release == RELEASE);
    // A Debian of another release has the same mirror; a machine that is no Debian has Debian's own.
    let other = || {
        known
            .iter()
            .find(|known| known.uri.trim_end_matches('/').ends_with("/debian"))
    };
    let mirror = own
        .or_else(other)
        .map_or("http://deb.debian.org/debian", |known| &known.uri);
    let security = known.iter().find(|known| known.release.ends_with("-security"));
    let key = if Path::new(KEYRING).exists() {
        format!("signed-by={KEYRING} ")
    } else {
        String::new()
    };
    let mut list = String::new();
    let mut add = |uri: &str, release: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(
            list,
            "deb [{key}arch=amd64 target=Packages lang=none] {uri} {release} main"
        );
    };
    match suite {
        Suite::Release => {
            add(mirror, RELEASE);
            if let Some(security) = security {
                add(&security.uri, &format!("{RELEASE}-security"));
            }
        }
        Suite::Backports => add(mirror, &format!("{RELEASE}-backports")),
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: &str = "http://mirror.example/debian/ bookworm main\n\
        http://mirror.example/debian/ bookworm contrib\n\
        http://mirror.example/debian-security/ bookworm-security main\n\
        https://elsewhere.example/node/ nodistro main\n";

    #[test]
    fn the_sources_come_from_the_mirror_this_machine_uses() {
        let known = parse_repositories(TARGETS);
        let list = sources(Suite::Release, &known);
        assert!(
            list.contains("http://mirror.example/debian/ bookworm main\n"),
            "{list}"
        );
        assert!(
            list.contains("http://mirror.example/debian-security/ bookworm-security main\n"),
            "{list}"
        );
        assert!(!list.contains("elsewhere"), "{list}");
        assert_eq!(sources(Suite::Backports, &known).lines().count(), 1);
    }

    #[test]
    fn a_newer_debian_lends_its_mirror_for_the_release() {
        let known = parse_repositories("http://mirror.example/debian/ trixie main\n");
        assert!(sources(Suite::Release, &known).contains("http://mirror.example/debian/ bookworm main"));
    }
}
