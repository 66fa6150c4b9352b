//! The machine: system, processor, memory, disk, Apple's compiler, and how the hub is set up.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anelith_checkpoint::{Hub, HubSettings};
use anelith_report::Reported;
use anelith_runtime::Isa;
use serde_json::json;

use super::{Row, Section};

/// How long a hub may be silent.
const PATIENCE: Duration = Duration::from_secs(5);

/// System, processor, memory, and the disk that holds `output`, or will.
pub(super) fn system(output: &Path) -> Section {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let here: Vec<String> = Isa::here().map(name).collect();
    let processor = field(&cpus, "model name").map(str::to_owned);
    let processor = processor.or_else(|| setting("machdep.cpu.brand_string"));
    let all = kilobytes(&memory, "MemTotal").or_else(|| setting("hw.memsize")?.parse().ok());
    let existing = output.ancestors().find(|p| p.exists() && !p.as_os_str().is_empty());
    let place = existing.unwrap_or(Path::new("."));
    let free = fs4::available_space(place).ok();
    let shown = free.map_or("unknown".into(), super::megabytes);
    let mut rows = vec![
        Row::text("system", system_name()),
        Row::text("processor", processor.unwrap_or_else(|| std::env::consts::ARCH.to_owned())),
        Row::new("cores", cores, cores.to_string()),
        Row::new("instructions", json!(here), here.join(", ")),
        Row::text("runtime uses", name(Isa::best())),
        Row::bytes("memory", all),
        Row::bytes("memory free", kilobytes(&memory, "MemAvailable")),
        Row::text("huge pages", huge_pages()),
        Row::new("disk free", free, format!("{shown} at {}", place.display())),
    ];
    if cfg!(target_os = "macos") {
        rows.push(Row::text("coremlcompiler", apple_compiler()));
    } else {
        rows.push(Row::text("coremlcompiler", "none on this system, and not needed"));
    }
    Section { name: "machine", rows, warnings: obstacle(place).into_iter().collect() }
}

/// Why nothing can be made in `place`, as far as that can be known without trying.
fn obstacle(place: &Path) -> Option<String> {
    let metadata = fs::metadata(place).ok()?;
    let why = match (metadata.is_dir(), metadata.permissions().readonly()) {
        (false, _) => "is not a directory",
        (true, true) => "may not be written to",
        (true, false) => return None,
    };
    Some(format!("--output: {} {why}; choose another directory", place.display()))
}

/// Where models of a hub go and as whom it is asked; whether it can be reached only if `online`.
pub(super) fn hub(online: bool) -> Section {
    let settings = match HubSettings::from_env() {
        Ok(settings) => settings,
        Err(error) => {
            let at = error.report().location.as_deref().unwrap_or("settings");
            return Section { name: "hub", rows: Vec::new(), warnings: vec![format!("{at}: {error}")] };
        }
    };
    let reached = match (online, settings.offline) {
        (false, _) => Row::new("reached", json!(null), "not tried; --online tries"),
        (true, true) => Row::new("reached", json!(null), "not tried, as HF_HUB_OFFLINE is set"),
        (true, false) => match Hub::new(HubSettings { silence: PATIENCE, ..settings.clone() }).reach() {
            Ok(()) => Row::new("reached", true, "yes"),
            Err(problem) => Row::new("reached", false, format!("no: {problem}")),
        },
    };
    let has_token = settings.token.is_some();
    let rows = vec![
        Row::text("cache", settings.cache.display().to_string()),
        Row::text("endpoint", settings.endpoint),
        Row::new("token", has_token, if has_token { "there" } else { "none" }),
        Row::new("offline", settings.offline, if settings.offline { "yes" } else { "no" }),
        reached,
    ];
    Section { name: "hub", rows, warnings: Vec::new() }
}

fn name(isa: Isa) -> String {
    format!("{isa:?}").to_lowercase()
}

fn system_name() -> String {
    let kind = std::env::consts::OS;
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let detail = pretty.map(|text| text.trim_matches('"').to_owned()).or_else(|| match kind {
        "macos" => answer("sw_vers", &["-productVersion"]),
        _ => None,
    });
    let architecture = std::env::consts::ARCH;
    detail.map_or(format!("{kind}, {architecture}"), |d| format!("{kind} ({d}), {architecture}"))
}

fn apple_compiler() -> String {
    let path = answer("xcrun", &["--find", "coremlcompiler"]);
    path.unwrap_or_else(|| "none, and not needed; Xcode brings it".to_owned())
}

/// A setting of the kernel of macOS, which has no files for them.
fn setting(name: &str) -> Option<String> {
    cfg!(target_os = "macos").then(|| answer("sysctl", &["-n", name]))?
}

/// The first line of what a program says, where it succeeds.
fn answer(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|o| o.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
}

/// What the system does with huge pages, which make large models faster to read: `always`, `madvise` or `never`.
fn huge_pages() -> String {
    let text = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    let chosen = text.split_whitespace().find_map(|w| w.strip_prefix('[')?.strip_suffix(']'));
    chosen.unwrap_or("unknown").to_owned()
}

/// The first `name: value` of a text.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

/// A field in kilobytes, in bytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    field(text, name)?.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "model\t\t: 85\nmodel name\t: A chip: 2\nMemTotal:  16 kB\n";
        assert_eq!(field(text, "model name"), Some("A chip: 2"));
        assert_eq!(field(text, "name"), None);
        assert_eq!(kilobytes(text, "MemTotal"), Some(16 << 10));
    }
}
