//! Before the run: where the server is, the collection, and the records.

use std::{path::Path, sync::Arc};

use reqwest::{Method, header};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, pem::PemObject as _},
    },
};

use rustls_platform_verifier::BuilderVerifierExt as _;

use super::{
    super::{
        connection::{Client, Connection},
        failure::Failure,
        import::ensure_collection,
    },
    args::{Args, Load},
    batches,
    choose::LenDist,
    records::Records,
    report::Loaded,
    wire::{HttpVersion, Target},
};
use crate::server::Tasks;

/// The server, to be spoken to without the client that other commands use.
pub(crate) fn target(connection: &Connection, client: &Client, version: HttpVersion) -> Result<Arc<Target>, Failure> {
    let base = client.base();
    let token = client.token().ok_or_else(|| Failure::local("which token? Set LETHE_TOKEN, or say --token-file FILE"))?;
    let host = base.host_str().unwrap_or_default();
    let port = base.port_or_known_default().unwrap_or(80);
    let tls = if base.scheme() == "https" { Some(connector(connection.ca(), version)?) } else { None };
    Ok(Arc::new(Target {
        scheme: base.scheme().to_owned(),
        host: host.trim_matches(['[', ']']).to_owned(),
        port,
        authority: format!("{host}:{port}"),
        base: base.path().trim_end_matches('/').to_owned(),
        tls,
        version,
        token: token.clone(),
        tasks: Tasks::default(),
    }))
}

fn connector(ca: Option<&Path>, version: HttpVersion) -> Result<TlsConnector, Failure> {
    let local = |error: tokio_rustls::rustls::Error| Failure::local(format!("cannot set up TLS: {error}"));
    let builder =
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions().map_err(local)?;
    let builder = match ca {
        None => builder.with_platform_verifier().map_err(local)?,
        Some(path) => {
            let not_pem = || Failure::local(format!("{}: not PEM certificates", path.display()));
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(path).map_err(|_| not_pem())? {
                roots.add(certificate.map_err(|_| not_pem())?).map_err(local)?;
            }
            builder.with_root_certificates(roots)
        }
    };
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![match version {
        HttpVersion::One => b"http/1.1".to_vec(),
        HttpVersion::Two => b"h2".to_vec(),
    }];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Makes the collection if it is missing, and stores the records as `args` asks.
pub(crate) async fn prepare(
    args: &Args,
    client: &Client,
    target: &Arc<Target>,
    tenant: &str,
    records: &Records,
) -> Result<Option<Loaded>, Failure> {
    ensure_collection(client, tenant, &records.collection, true, true).await.map(drop)?;
    let wanted = args.workload.loads()
        && match args.load {
            Load::Never => false,
            Load::Always | Load::Only => true,
            Load::WhenMissing => !are_there(client, tenant, records, args.records()).await?,
        };
    if !wanted {
        return Ok(None);
    }
    let bar = super::progress(args.records());
    let time = batches::load(target, records, args.records(), &bar).await?;
    Ok(Some(Loaded::new(args.records(), time)))
}

/// Looks at the first, the middle and the last one.
async fn are_there(client: &Client, tenant: &str, records: &Records, count: u64) -> Result<bool, Failure> {
    for number in [0, count / 2, count.saturating_sub(1)] {
        let asked = client.record(Method::HEAD, tenant, &records.collection, &records.key(number))?;
        let answer = match client.send(asked).await {
            Err(Failure::Refused(problem)) if problem.status == 404 => return Ok(false),
            other => other?,
        };
        let len = answer.headers().get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse::<u64>().ok());
        if records.value_dist == LenDist::Fixed && len != Some(records.value_len) {
            return Ok(false);
        }
    }
    Ok(true)
}
