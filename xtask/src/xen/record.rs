//! `cargo xtask xen record`: talks with Xen, kept.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use xenvisor_conversation::Area;

use super::dom0::Dom0;
use super::talk::{Talk, talker};
use super::transcript;

/// What `record` takes.
#[derive(Debug, Args)]
pub(super) struct Recording {
    /// What to talk about [default: everything]
    #[arg(value_name = "AREA")]
    areas: Vec<String>,
    /// Where the transcripts go [default: tests/transcripts]
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
}

impl Recording {
    pub(super) fn run(self) -> Result<u8> {
        let areas = areas(&self.areas)?;
        let folder = match &self.into {
            Some(folder) => folder.clone(),
            None => transcript::folder(),
        };
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let (dom0, talker) = (Dom0::fetch()?, talker()?);
        for area in areas {
            let transcript = Talk::kept(area).with_xen(&dom0, &talker)?;
            let to = folder.join(transcript::file_name(area));
            std::fs::write(&to, &transcript).with_context(|| format!("cannot write {}", to.display()))?;
            println!("{}: {} lines", to.display(), transcript.lines().count());
        }
        Ok(0)
    }
}

/// The areas of these names; all of them if there are none.
pub(super) fn areas(names: &[String]) -> Result<Vec<Area>> {
    if names.is_empty() {
        return Ok(Area::ALL.to_vec());
    }
    let named = |name: &String| match Area::named(name) {
        Some(area) => Ok(area),
        None => {
            let all: Vec<&str> = Area::ALL.iter().map(|area| area.name()).collect();
            bail!("there are no talks about {name:?}: say one of {}", all.join(", "))
        }
    };
    names.iter().map(named).collect()
}
