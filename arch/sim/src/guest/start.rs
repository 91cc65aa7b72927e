//! What a guest is told at its start.

use xenvisor_abi::arch_x86::hvm::start_info::{
    MemmapTableEntry, ModlistEntry, StartInfo, XEN_HVM_START_MAGIC_VALUE,
};

use super::{SimGuest, Trouble};

/// Longer command lines are cut.
const CMDLINE_MAX: usize = 4096;

impl SimGuest {
    /// The start info, checked as a kernel does.
    ///
    /// # Errors
    /// When it is none.
    pub async fn start_info(&self) -> Result<StartInfo, Trouble> {
        let info: StartInfo = self.get(self.start_info).await;
        if info.magic == XEN_HVM_START_MAGIC_VALUE && info.version >= 1 {
            Ok(info)
        } else {
            Err(Trouble::new(format!("no start info at {:#x}", self.start_info)))
        }
    }

    /// The guest's command line.
    ///
    /// # Errors
    /// When there is no start info.
    pub async fn command_line(&self) -> Result<String, Trouble> {
        let at = self.start_info().await?.cmdline_paddr;
        if at == 0 {
            return Ok(String::new());
        }
        let mut line = self.read(at, CMDLINE_MAX).await;
        let end = line.iter().position(|byte| *byte == 0).unwrap_or(line.len());
        line.truncate(end);
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// The value of an option `name=value` of the command line.
    ///
    /// # Errors
    /// When there is none, or it is not a number.
    pub async fn option(&self, name: &str) -> Result<u64, Trouble> {
        let line = self.command_line().await?;
        line.split_whitespace()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
            .ok_or_else(|| Trouble::new(format!("the command line `{line}` has no number for {name}=")))
    }

    /// The memory map.
    ///
    /// # Errors
    /// When there is no start info.
    pub async fn memory_map(&self) -> Result<Vec<MemmapTableEntry>, Trouble> {
        let info = self.start_info().await?;
        let mut map = Vec::new();
        for n in 0..u64::from(info.memmap_entries) {
            map.push(
                self.get(info.memmap_paddr + n * size_of::<MemmapTableEntry>() as u64)
                    .await,
            );
        }
        Ok(map)
    }

    /// The initrd: where, and how many bytes.
    ///
    /// # Errors
    /// When there is no start info.
    pub async fn initrd(&self) -> Result<Option<(u64, u64)>, Trouble> {
        let info = self.start_info().await?;
        if info.nr_modules == 0 {
            return Ok(None);
        }
        let module: ModlistEntry = self.get(info.modlist_paddr).await;
        Ok(Some((module.paddr, module.size)))
    }
}
