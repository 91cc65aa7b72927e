//! What nested virtualization needs of this computer, and what of it is missing.

use anyhow::{Result, bail};
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::Path;

/// The device of KVM.
const DEVICE: &str = "/dev/kvm";

/// Where the modules of KVM say whether guests may virtualize in turn.
const MODULES: &str = "/sys/module";

/// Says what is missing, unless all is there.
pub fn ensure() -> Result<()> {
    check(Path::new(DEVICE), Path::new(MODULES))
}

fn check(device: &Path, modules: &Path) -> Result<()> {
    match OpenOptions::new().read(true).write(true).open(device) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "there is no {}: this computer's processor or kernel offers no virtualization. \
             Without it, --machine qemu and --machine bochs emulate a processor that does",
            device.display()
        ),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => bail!(
            "no permission to use {}. Become a member of its group:\n\n    sudo adduser $USER kvm\n",
            device.display()
        ),
        Err(error) => bail!("cannot use {}: {error}", device.display()),
    }
    let nested = |module: &str| std::fs::read_to_string(modules.join(module).join("parameters/nested")).ok();
    let (intel, amd) = (nested("kvm_intel"), nested("kvm_amd"));
    let (module, nested) = match (&intel, &amd) {
        (Some(nested), _) => ("kvm_intel", nested),
        (_, Some(nested)) => ("kvm_amd", nested),
        (None, None) => bail!(
            "neither kvm_intel nor kvm_amd is loaded (no parameters/nested below {}): \
             it cannot be known whether guests may virtualize in turn",
            modules.display()
        ),
    };
    if !matches!(nested.trim(), "1" | "Y" | "y") {
        bail!(
            "nested virtualization is off in {}/{module}/parameters/nested. To switch it on:\n\n    \
             sudo modprobe -r {module} && sudo modprobe {module} nested=1\n",
            modules.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(device: bool, modules: &[(&str, &str)]) -> Option<String> {
        let scratch = tempfile::tempdir().unwrap();
        let node = scratch.path().join("kvm");
        if device {
            std::fs::write(&node, "").unwrap();
        }
        for (module, nested) in modules {
            let folder = scratch.path().join(module).join("parameters");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("nested"), nested).unwrap();
        }
        check(&node, scratch.path()).err().map(|error| error.to_string())
    }

    #[test]
    fn each_thing_that_is_missing_is_named() {
        let told = |device, modules: &[_]| complaint(device, modules).unwrap();
        assert!(told(false, &[]).contains("there is no "));
        assert!(told(true, &[]).contains("neither kvm_intel nor kvm_amd"));
        assert!(told(true, &[("kvm_amd", "0\n")]).contains("modprobe kvm_amd nested=1"));
        assert!(told(true, &[("kvm_intel", "N\n")]).contains("modprobe kvm_intel nested=1"));
    }

    #[test]
    fn nothing_is_missing_where_either_module_allows_it() {
        assert_eq!(complaint(true, &[("kvm_intel", "Y\n")]), None);
        assert_eq!(complaint(true, &[("kvm_amd", "1\n")]), None);
    }
}
