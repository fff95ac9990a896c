//! `/log/checkpoint` and `/log/tile/...`: the public log of certificates and epochs (C2SP tlog-tiles).

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{Uri, header};

use super::Api;
use super::caller::no_query;
use super::extract::path::RawPath;
use super::problem::Problem;
use crate::vault::ops::Missing;

/// Read the log's signed checkpoint.
#[utoipa::path(get, path = "/log/checkpoint", tag = "evidence", responses((status = 200, content_type = "text/plain", body = String)))]
pub(super) async fn checkpoint(State(api): State<Api>, uri: Uri) -> Result<Response, Problem> {
    no_query(&uri)?;
    let note = api.vault().checkpoint().await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], note).into_response())
}

/// Read a tile of the log. A full tile never changes.
#[utoipa::path(get, path = "/log/tile/{path}", tag = "evidence", params(("path" = String, Path)),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>), (status = 404)))]
pub(super) async fn tile(State(api): State<Api>, uri: Uri) -> Result<Response, Problem> {
    no_query(&uri)?;
    let path = RawPath::of(&uri).tile();
    if !is_tile(path) {
        return Err(Missing::Page.into());
    }
    let bytes = api.vault().log_file(&format!("tile/{path}")).await.map_err(Problem::from)?;
    let immutable = !path.split('/').any(|part| part.strip_suffix(".p").is_some());
    let caching = if immutable { "public, max-age=604800, immutable" } else { "no-store" };
    Ok(([(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, caching)], bytes).into_response())
}

/// `<level or "entries">/<number, in parts of three digits>[.p/<width>]`: what names a tile, and nothing that names another file.
fn is_tile(path: &str) -> bool {
    let mut parts = path.split('/');
    let level = parts.next().unwrap_or_default();
    let known_level = level == "entries" || (matches!(level.len(), 1 | 2) && level.bytes().all(|byte| byte.is_ascii_digit()));
    let rest: Vec<&str> = parts.collect();
    let number = |part: &str| part.strip_prefix('x').or(part.strip_suffix(".p")).unwrap_or(part).bytes().all(|byte| byte.is_ascii_digit());
    known_level && !rest.is_empty() && rest.len() <= 8 && rest.iter().all(|part| (1..=5).contains(&part.len()) && number(part))
}

#[cfg(test)]
mod tests {
    use super::super::problem::Code;
    use super::*;

    #[test]
    fn only_paths_of_tiles_reach_the_log() {
        for path in ["0/000", "0/x001/234", "1/000.p/5", "entries/x001/234.p/17", "entries/000"] {
            assert!(is_tile(path), "{path}");
        }
        for path in
            ["", "0", "0/", "0/..", "../control/CURRENT", "0/%2e%2e/x", "0/000/../../checkpoint", "entries//000", "x/000", "0/0000000"]
        {
            assert!(!is_tile(path), "{path}");
        }
        assert_eq!(Problem::from(Missing::Page).code(), Code::NotFound);
    }
}
