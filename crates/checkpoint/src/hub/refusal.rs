//! What a user is told when a hub does not give what is asked for.

use anelith_report::Reported;

use super::client::{Refusal, Trouble};
use super::id::{ModelId, Revision};
use crate::error::{Error, Result};

/// What was asked for, of whom.
#[derive(Debug)]
pub(super) struct Request<'r> {
    pub(super) endpoint: &'r str,
    pub(super) id: &'r ModelId,
    pub(super) revision: &'r Revision,
    /// The file, where one was asked for.
    pub(super) file: Option<&'r str>,
    pub(super) has_token: bool,
}

const HOW_TO_GIVE: &str = "give a token that may read it: set HF_TOKEN, or log in with `hf auth login`";

impl Request<'_> {
    /// The answer, or the error that tells its trouble: `Network` where asking later may help, `Missing` where there is no
    /// such thing or not for this user.
    pub(super) fn answered<T>(&self, answer: std::result::Result<T, Trouble>) -> Result<T> {
        answer.map_err(|trouble| self.error(&trouble))
    }

    pub(super) fn error(&self, trouble: &Trouble) -> Error {
        match trouble {
            Trouble::Connection(why) => {
                Error::network(format!("cannot download {} from {}: {why}", self.wanted(), self.endpoint))
                    .at(self.endpoint)
                    .mending(
                        "check the connection (HTTPS_PROXY, HF_ENDPOINT) and run again, which goes on where this stopped; \
                         or give a directory to --model",
                    )
            }
            Trouble::Status(refusal) => self.refused(refusal).at(self.page()).finding(found(refusal)),
        }
    }

    fn refused(&self, refusal: &Refusal) -> Error {
        let Request { id, revision, endpoint, .. } = self;
        match (refusal.status, refusal.code.as_deref()) {
            (401 | 403, Some("GatedRepo")) => {
                let mend = if self.has_token {
                    "log in there as the owner of the token, and accept the terms; the token must be allowed to read gated models"
                        .to_owned()
                } else {
                    format!("log in there, accept the terms, and {HOW_TO_GIVE}")
                };
                Error::missing(format!("`{id}` is given only to those who have accepted its terms"))
                    .mending(mend)
            }
            (404, Some("RevisionNotFound")) => Error::missing(format!("`{id}` has no revision `{revision}`"))
                .expecting("a branch, a tag or a commit of the model")
                .mending("choose one for --revision, or leave it out"),
            (404, Some("EntryNotFound")) => Error::missing(format!("`{id}` has no {}", self.wanted()))
                .mending("run again; if it stays so, choose another --revision"),
            (401, _) if self.has_token => Error::missing(format!(
                "{endpoint} does not accept the token, or shows `{id}` to others only"
            ))
            .mending("check the id and the token (HF_TOKEN; `hf auth whoami` tells whose it is)"),
            (401 | 403, _) if !self.has_token => {
                Error::missing(format!("`{id}` does not exist, or is not for everyone"))
                    .mending(format!("check the id; if the model is private, {HOW_TO_GIVE}"))
            }
            (403, _) => Error::missing(format!("the token may not read `{id}`"))
                .mending("give the token the right to read this model, or take another (HF_TOKEN)"),
            (404, _) => Error::missing(format!("there is no model `{id}` at {endpoint}"))
                .expecting("the id of a model: org/name")
                .mending(format!("check the id; if the model is private, {HOW_TO_GIVE}")),
            (429, _) => {
                let token = if self.has_token {
                    ""
                } else {
                    ", or give a token (HF_TOKEN), with which more is allowed"
                };
                Error::network(format!("{endpoint} refuses more requests for now")).mending(format!(
                    "wait some minutes and run again, which goes on where this stopped{token}"
                ))
            }
            (500.., _) => Error::network(format!("{endpoint} fails to give {}", self.wanted()))
                .mending("run again later; it goes on where this stopped"),
            _ => Error::network(format!("{endpoint} does not give {}", self.wanted()))
                .mending("check that HF_ENDPOINT is a hub"),
        }
    }

    /// What was asked for, in words.
    fn wanted(&self) -> String {
        match self.file {
            Some(file) => format!("`{file}` of `{}`", self.id),
            None => format!("the list of files of `{}`", self.id),
        }
    }

    /// The page of the model.
    pub(super) fn page(&self) -> String {
        format!("{}/{}", self.endpoint, self.id)
    }
}

fn found(refusal: &Refusal) -> String {
    let words = [refusal.code.as_deref(), refusal.message.as_deref()];
    let words: Vec<&str> = words.into_iter().flatten().collect();
    match words.is_empty() {
        true => format!("HTTP status {}", refusal.status),
        false => format!("HTTP status {} ({})", refusal.status, words.join(": ")),
    }
}
