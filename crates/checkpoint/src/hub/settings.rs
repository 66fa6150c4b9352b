//! Where the hub and the cache are, and as whom we ask: the variables that `huggingface_hub` reads, read as it reads them.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::ErrorKind::NotFound;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anelith_report::Reported;
use ureq::http::Uri;

use crate::error::{Error, Result};

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// What a [`super::Hub`] is made from.
#[derive(Debug, Clone)]
pub struct HubSettings {
    /// The hub: a scheme and a host, without a slash at the end.
    pub endpoint: String,
    /// The directory of the cache, which need not exist.
    pub cache: PathBuf,
    /// As whom to ask.
    pub token: Option<HubToken>,
    /// Whether to do with what the cache holds.
    pub offline: bool,
    /// How long to wait before the first of several further tries; each waits twice as long as the one before.
    pub first_wait: Duration,
    /// How long a server may be silent.
    pub silence: Duration,
}

/// A secret by which a hub knows its user. `Debug` does not show it.
#[derive(Clone)]
pub struct HubToken(String);

impl HubToken {
    /// Takes a token without the line breaks and spaces around it; `None` if nothing is left.
    ///
    /// `source` is where it is from, for the error: `Malformed` if it has characters that cannot be sent.
    pub fn new(text: &str, source: &str) -> Result<Option<HubToken>> {
        let token = text.trim();
        if token.is_empty() {
            return Ok(None);
        }
        if token.bytes().all(|b| b.is_ascii_graphic()) {
            return Ok(Some(HubToken(token.to_owned())));
        }
        Err(Error::malformed("the hub's token has characters that no token has")
            .at(source)
            .expecting("letters, digits and signs, as in `hf_...`")
            .finding("a space, a line break or a character beyond ASCII in it")
            .mending("copy the token again"))
    }

    pub(super) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for HubToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HubToken(...)")
    }
}

impl HubSettings {
    /// Settings for the hub at `endpoint` and the cache in `cache`, without a token.
    ///
    /// `Malformed` if `endpoint` is no address of a server.
    pub fn new(endpoint: &str, cache: PathBuf) -> Result<HubSettings> {
        let address = endpoint.trim_end_matches('/');
        let host = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
        let is_plain = |host: &str| {
            !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && !b"?#@".contains(&b))
        };
        if !host.is_some_and(is_plain) || address.parse::<Uri>().is_err() {
            return Err(Error::malformed("HF_ENDPOINT is no address of a hub")
                .at("HF_ENDPOINT")
                .expecting(format!("an address such as {DEFAULT_ENDPOINT}"))
                .finding(shown(endpoint))
                .mending("correct the variable, or take it away"));
        }
        Ok(HubSettings {
            endpoint: address.to_owned(),
            cache,
            token: None,
            offline: false,
            first_wait: Duration::from_secs(1),
            silence: Duration::from_secs(30),
        })
    }

    /// Settings as the environment says: `HF_ENDPOINT`, `HF_HUB_CACHE` (else `HF_HOME`, else `XDG_CACHE_HOME`, else the
    /// home directory), `HF_TOKEN` (else the file `HF_TOKEN_PATH`, else `$HF_HOME/token`),
    /// `HF_HUB_DISABLE_IMPLICIT_TOKEN`, `HF_HUB_OFFLINE`.
    ///
    /// `Malformed` where one of them cannot be meant, `Io` if there is a token that cannot be read, `Missing` if nothing
    /// says where the cache is.
    pub fn from_env() -> Result<HubSettings> {
        HubSettings::read(&|name| std::env::var_os(name), std::env::home_dir())
    }

    fn read(variable: &dyn Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Result<HubSettings> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &str| set(name).map(|value| value.to_string_lossy().into_owned());
        let path = |name: &str| set(name).map(|value| from_home(&PathBuf::from(value), home.as_deref()));
        let user_cache = || path("XDG_CACHE_HOME").or_else(|| Some(home.as_ref()?.join(".cache")));
        let hub_home = path("HF_HOME").or_else(|| Some(user_cache()?.join("huggingface")));
        let cache = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE"));
        let Some(cache) = cache.or_else(|| Some(hub_home.as_ref()?.join("hub"))) else {
            return Err(Error::missing("there is no place for models from a hub")
                .at("HF_HUB_CACHE")
                .expecting("HF_HUB_CACHE, HF_HOME, or a home directory")
                .finding("none of them")
                .mending("set HF_HUB_CACHE to a directory"));
        };
        let endpoint = text("HF_ENDPOINT");
        let mut settings = HubSettings::new(endpoint.as_deref().unwrap_or(DEFAULT_ENDPOINT), cache)?;
        let is_on = |name: &str| text(name).is_some_and(|value| is_true(&value));
        settings.offline = is_on("HF_HUB_OFFLINE") || is_on("TRANSFORMERS_OFFLINE");
        if is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            return Ok(settings);
        }
        for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
            if settings.token.is_none() {
                settings.token = HubToken::new(&text(name).unwrap_or_default(), name)?;
            }
        }
        let file = path("HF_TOKEN_PATH").or_else(|| Some(hub_home?.join("token")));
        if let (None, Some(file)) = (&settings.token, file) {
            settings.token = token_in(&file)?;
        }
        Ok(settings)
    }
}

/// What is found instead of an address; the part that may be a password is not shown.
fn shown(endpoint: &str) -> String {
    match endpoint.contains(['@', '?', '#']) {
        true => "an address with a user name or a query in it, which are not sent and not shown".to_owned(),
        false => format!("{endpoint:?}"),
    }
}

/// `~` and what follows it, from the home directory: variables that a file sets have not been through a shell.
fn from_home(path: &Path, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

fn is_true(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str())
}

fn token_in(file: &Path) -> Result<Option<HubToken>> {
    match fs::read_to_string(file) {
        Ok(text) => HubToken::new(&text, &file.display().to_string()),
        Err(e) if e.kind() == NotFound => Ok(None),
        Err(e) => Err(Error::io("read", file, &e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)], home: &str) -> Result<HubSettings> {
        let value = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        HubSettings::read(&value, (!home.is_empty()).then(|| home.into()))
    }

    #[test]
    fn the_cache_is_where_other_tools_look_for_it() {
        for (variables, expected) in [
            (&[][..], "/users/me/.cache/huggingface/hub"),
            (&[("XDG_CACHE_HOME", "/xdg")], "/xdg/huggingface/hub"),
            (&[("HF_HOME", "/hf"), ("XDG_CACHE_HOME", "/xdg")], "/hf/hub"),
            (&[("HF_HOME", "~/hf")], "/users/me/hf/hub"),
            (&[("HF_HUB_CACHE", "/cache"), ("HF_HOME", "/hf")], "/cache"),
            (&[("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HOME", "/hf")], "/old"),
            (&[("HF_HUB_CACHE", "")], "/users/me/.cache/huggingface/hub"),
        ] {
            let settings = read(variables, "/users/me").unwrap();
            assert_eq!(settings.cache, PathBuf::from(expected), "{variables:?}");
            assert_eq!(settings.endpoint, DEFAULT_ENDPOINT);
            assert!(!settings.offline);
        }
        assert_eq!(read(&[], "").unwrap_err().kind(), crate::ErrorKind::Missing);
    }

    #[test]
    fn the_token_is_the_first_there_is_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap();
        let other = dir.path().join("other");
        fs::write(dir.path().join("token"), "hf_file\n").unwrap();
        fs::write(&other, "\n").unwrap();
        let other = other.to_str().unwrap();
        for (variables, expected) in [
            (&[("HF_HOME", home)][..], Some("hf_file")),
            (&[("HF_HOME", home), ("HF_TOKEN", " hf_variable\n")], Some("hf_variable")),
            (&[("HF_HOME", home), ("HUGGING_FACE_HUB_TOKEN", "hf_old")], Some("hf_old")),
            (&[("HF_HOME", home), ("HF_TOKEN_PATH", other)], None),
            (&[("HF_HOME", home), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")], None),
        ] {
            let token = read(variables, "/nowhere").unwrap().token;
            assert_eq!(token.as_ref().map(HubToken::secret), expected, "{variables:?}");
            assert!(!format!("{token:?}").contains("hf_"));
        }
        let error = read(&[("HF_TOKEN", "hf_a b")], "/nowhere").unwrap_err();
        assert!(!format!("{error:?}").contains("hf_a"), "{error:?}");
    }

    #[test]
    fn the_endpoint_is_an_address_and_offline_a_word_for_yes() {
        let settings =
            read(&[("HF_ENDPOINT", "http://mirror:8080/hf/"), ("HF_HUB_OFFLINE", "yes")], "/h").unwrap();
        assert_eq!(settings.endpoint, "http://mirror:8080/hf");
        assert!(settings.offline);
        assert!(!read(&[("HF_HUB_OFFLINE", "0")], "/h").unwrap().offline);
        for bad in ["mirror", "ftp://mirror", "https://", "https://a b", "https://user@host"] {
            assert!(read(&[("HF_ENDPOINT", bad)], "/h").is_err(), "{bad}");
        }
        for secret in ["https://me:s3cret@mirror", "mirror?key=s3cret", "https://mirror/#s3cret"] {
            let error = read(&[("HF_ENDPOINT", secret)], "/h").unwrap_err();
            assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
        }
    }
}
