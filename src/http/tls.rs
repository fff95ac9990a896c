//! TLS 1.2 and 1.3 by rustls, with a certificate that can be replaced while serving.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// A file holds no certificate, or none that is one.
    #[error("{} holds no PEM certificate chain", .0.display())]
    Certificate(PathBuf),
    /// A file holds no key, or none that is one.
    #[error("{} holds no PEM private key", .0.display())]
    Key(PathBuf),
    /// The key is not the certificate's.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    /// The library refused its own defaults.
    #[error("TLS cannot be configured")]
    Config(#[source] rustls::Error),
}

/// The server's certificate, read again on [`Certificate::reload`].
#[derive(Debug)]
pub struct Certificate {
    chain_path: PathBuf,
    key_path: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    /// Reads chain and key, both PEM.
    ///
    /// # Errors
    /// [`TlsError`] names the file.
    pub fn load(chain_path: &Path, key_path: &Path) -> Result<Arc<Self>, TlsError> {
        let current = RwLock::new(Arc::new(read(chain_path, key_path)?));
        Ok(Arc::new(Self { chain_path: chain_path.into(), key_path: key_path.into(), current }))
    }

    /// Reads both files again; the old certificate stays if that fails. Open connections keep theirs.
    ///
    /// # Errors
    /// [`TlsError`] names the file.
    pub fn reload(&self) -> Result<(), TlsError> {
        let fresh = Arc::new(read(&self.chain_path, &self.key_path)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// A configuration that serves this certificate, for HTTP/2 and HTTP/1.1.
    ///
    /// # Errors
    /// [`TlsError::Config`].
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Self>::clone(self);
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(TlsError::Config)?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn read(chain_path: &Path, key_path: &Path) -> Result<CertifiedKey, TlsError> {
    let file = |path: &Path| fs::read(path).map_err(|error| TlsError::Read(path.into(), error));
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&file(chain_path)?)
        .collect::<Result<_, _>>()
        .ok()
        .filter(|chain: &Vec<_>| !chain.is_empty())
        .ok_or_else(|| TlsError::Certificate(chain_path.into()))?;
    let key_bytes = zeroize::Zeroizing::new(file(key_path)?);
    let key = PrivateKeyDer::from_pem_slice(&key_bytes).map_err(|_| TlsError::Key(key_path.into()))?;
    let signing_key = ring::sign::any_supported_type(&key).map_err(|_| TlsError::Key(key_path.into()))?;
    let certified = CertifiedKey::new(chain, signing_key);
    certified.keys_match().map_err(|_| TlsError::Mismatch)?;
    Ok(certified)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let (chain, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
        fs::write(&chain, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (chain, key)
    }

    #[test]
    fn a_reload_takes_the_new_certificate_and_keeps_the_old_one_when_the_new_is_broken() {
        let dir = tempfile::tempdir().unwrap();
        let (chain, key) = write(dir.path(), "a");
        let certificate = Certificate::load(&chain, &key).unwrap();
        let first = certificate.current.read().unwrap().cert.clone();
        certificate.server_config().unwrap();

        let (other_chain, other_key) = write(dir.path(), "b");
        fs::copy(&other_chain, &chain).unwrap();
        assert!(matches!(certificate.reload(), Err(TlsError::Mismatch)), "the chain is new, the key still old");
        assert_eq!(certificate.current.read().unwrap().cert, first);

        fs::copy(&other_key, &key).unwrap();
        certificate.reload().unwrap();
        assert_ne!(certificate.current.read().unwrap().cert, first);

        fs::write(&chain, "nothing").unwrap();
        assert!(matches!(certificate.reload(), Err(TlsError::Certificate(_))));
        fs::remove_file(&key).unwrap();
        assert!(matches!(certificate.reload(), Err(TlsError::Read(_, _) | TlsError::Certificate(_))));
    }
}
