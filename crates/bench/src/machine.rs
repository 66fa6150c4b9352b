//! What a measurement was made on.

use std::fs;
use std::path::Path;
use std::thread;

use crate::markdown;

/// Processor, cores, memory and the file system of `dir`, as far as the system tells.
pub(crate) fn describe(dir: &Path) -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let model = field(&cpus, "model name").unwrap_or(std::env::consts::ARCH);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let memory =
        field(&memory, "MemTotal").and_then(|text| text.trim_end_matches("kB").trim().parse::<u64>().ok());
    let memory = memory.map_or("unknown".into(), |kib| markdown::bytes(kib * 1024));
    let disk = file_system(&mounts, &dir).unwrap_or("unknown");
    format!("{model}, {cores} cores, {memory} of memory, file system {disk}, {}", std::env::consts::OS)
}

/// The first `name: value` of a text.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let line = text.lines().find(|line| line.split(':').next().is_some_and(|n| n.trim() == name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

/// The type of the file system that holds `dir`: that of the innermost place where one is mounted.
fn file_system<'t>(mounts: &'t str, dir: &Path) -> Option<&'t str> {
    let mounted = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((Path::new(fields.next()?), fields.next()?))
    });
    let around = mounted.filter(|(place, _)| dir.starts_with(place));
    around.max_by_key(|(place, _)| place.components().count()).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_counts() {
        let mounts = "proc /proc proc rw 0 0\n/dev/a / ext4 rw 0 0\n/dev/b /data btrfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/data/x")), Some("btrfs"));
        assert_eq!(file_system(mounts, Path::new("/database")), Some("ext4"));
        assert_eq!(field("a\t: b c\nd: e", "a"), Some("b c"));
    }
}
