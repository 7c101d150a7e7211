//! The listener: bound first, so that its address is known and its errors are plain; then served until it is told to stop.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use faultline_views::Views;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::doors::Doors;
use crate::routes;
use crate::settings::{Settings, StartError, TlsFiles};
use crate::state::App;

/// The routes without a listener, for requests from inside the process.
pub fn router(settings: &Settings, doors: Doors, views: Arc<Views>) -> axum::Router {
    routes::router(Arc::new(App::new(settings, doors, views)))
}

/// A server that listens and does not serve yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<RustlsConfig>,
    app: Arc<App>,
}

impl Server {
    /// Checks the settings and listens. Connections wait until [`Self::serve`].
    pub fn bind(settings: &Settings, doors: Doors, views: Arc<Views>) -> Result<Self, StartError> {
        settings.check()?;
        let tls = settings.tls.as_ref().map(tls_of).transpose()?;
        let fails = |source| StartError::Listen { address: settings.listen, source };
        let listener = TcpListener::bind(settings.listen).map_err(fails)?;
        let address = listener.local_addr().map_err(fails)?;
        Ok(Self { listener, address, tls, app: Arc::new(App::new(settings, doors, views)) })
    }

    /// Where it listens; the port is a real one where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is done, then lets requests in work end, within a bound. Needs a Tokio runtime.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<(), StartError> {
        let Self { listener, tls, app, .. } = self;
        let handle = Handle::new();
        let serving = serving(listener, tls, Arc::clone(&app), handle.clone());
        tokio::pin!(serving);
        tokio::select! {
            ended = &mut serving => return ended.map_err(StartError::Serve),
            () = stop => {}
        }
        // Requests that wait for an outcome answer now.
        app.stopping.send_replace(true);
        handle.graceful_shutdown(Some(app.limits.stop_time));
        serving.await.map_err(StartError::Serve)
    }
}

async fn serving(listener: TcpListener, tls: Option<RustlsConfig>, app: Arc<App>, handle: Handle<SocketAddr>) -> std::io::Result<()> {
    let limits = app.limits.clone();
    let service = routes::router(app).into_make_service();
    match tls {
        None => {
            let mut server = axum_server::from_tcp(listener)?.handle(handle).first_request_timeout(limits.head_time);
            server.http_builder().http1().header_read_timeout(limits.head_time).max_buf_size(limits.head_bytes);
            server.http1_only().serve(service).await
        }
        Some(tls) => {
            let mut server = axum_server::from_tcp_rustls(listener, tls)?.handle(handle).first_request_timeout(limits.head_time);
            server.http_builder().http1().header_read_timeout(limits.head_time).max_buf_size(limits.head_bytes);
            server.http1_only().serve(service).await
        }
    }
}

impl TlsFiles {
    /// Whether a server can be had with them.
    pub fn check(&self) -> Result<(), StartError> {
        tls_of(self).map(|_| ())
    }
}

fn tls_of(files: &TlsFiles) -> Result<RustlsConfig, StartError> {
    let certificates = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| tls_error("certificate", &files.certificate, &error))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| tls_error("key", &files.key, &error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(certificates, key))
        .map_err(|error| tls_error("certificate", &files.certificate, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(RustlsConfig::from_config(Arc::new(config)))
}

fn tls_error(what: &'static str, path: &Path, why: &dyn std::fmt::Display) -> StartError {
    StartError::Tls { what, path: path.to_owned(), why: why.to_string() }
}
