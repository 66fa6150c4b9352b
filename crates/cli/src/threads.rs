//! `--threads`.

use anelith_report::{Report, Reported};

use crate::failure::{Failure, Result, Status};

/// Starts as many threads as the option says for all parallel work to come; without it, that work begins with one for
/// each core.
pub(crate) fn start(threads: Option<u16>) -> Result<()> {
    let Some(threads) = threads else { return Ok(()) };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.into());
    pool.build_global().map_err(|problem| {
        let report = Report::new(format!("cannot start the threads: {problem}")).at("--threads");
        let report = report.expecting(format!("room for {threads} threads"));
        Failure::new(Status::Machine, report.mending("give --threads a smaller number"))
    })
}
