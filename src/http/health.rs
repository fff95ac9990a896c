//! `/health/live`: the process answers. `/health/ready`: it can do its work. Neither tells anything about data.

use axum::extract::State;
use http::StatusCode;

use super::Api;
use super::problem::{Code, Problem};
use crate::vault::ops::{NotReady, VaultError};

/// Does the process answer?
#[utoipa::path(get, path = "/health/live", tag = "health", responses((status = 204)))]
pub(super) async fn live() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Can it do its work?
#[utoipa::path(get, path = "/health/ready", tag = "health", responses((status = 204)))]
pub(super) async fn ready(State(api): State<Api>) -> Result<StatusCode, Problem> {
    if api.is_stopping() {
        return Err(Problem::new(Code::ShuttingDown));
    }
    api.vault().ready().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Says which part it is, which anybody may know; why is for the log.
impl From<NotReady> for Problem {
    fn from(failure: NotReady) -> Self {
        let (full, otherwise) = match &failure {
            NotReady::Copy { number, .. } => {
                let detail = format!("copy {number} of the control store fails: no epoch ends without it, and keys cannot be destroyed");
                return Self::told(Code::Unavailable, detail).because(failure.to_string());
            }
            NotReady::Store(_) => {
                ("the disk of the store or of its mirror is full, and the reserve is spent", "the store or its mirror takes no commits")
            }
            NotReady::Custody(_) => ("a disk of the keys is full", "custody failed, or an epoch was cut short: keys cannot be destroyed"),
            NotReady::Log(_) => {
                ("the disk of the log or of its journal is full", "the log or its journal failed: nothing can be certified")
            }
        };
        let is_full = matches!(failure.reason(), VaultError::DiskFull);
        // It works, and has too much to do to be asked.
        let is_busy = matches!(failure.reason(), VaultError::Busy);
        let problem = match (is_full, is_busy) {
            (true, _) => Self::with(Code::DiskFull, full),
            (_, true) => Self::new(Code::Busy),
            (false, false) => Self::with(Code::Unavailable, otherwise),
        };
        problem.because(failure.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_that_is_not_ready_is_named_and_the_reason_is_for_the_log() {
        let broken = || VaultError::Unavailable("secret-path".into());
        for (failure, code, part) in [
            (NotReady::Store(VaultError::DiskFull), Code::DiskFull, "store"),
            (NotReady::Store(broken()), Code::Unavailable, "store"),
            (NotReady::Custody(broken()), Code::Unavailable, "custody"),
            (NotReady::Log(VaultError::DiskFull), Code::DiskFull, "log"),
            (NotReady::Log(VaultError::Busy), Code::Busy, ""),
            (NotReady::Log(VaultError::Internal("secret-path".into())), Code::Unavailable, "log"),
            (NotReady::Copy { number: 2, source: broken() }, Code::Unavailable, "copy 2"),
        ] {
            let reason = failure.reason().to_string();
            let problem = Problem::from(failure);
            assert!(problem.reason().unwrap().contains(&reason), "{reason}");
            let told = String::from_utf8(problem.to_json(crate::domain::RequestId([0; 16]))).unwrap();
            assert!(problem.code() == code && told.contains(part) && !told.contains("secret-path"), "{told}");
        }
    }
}
