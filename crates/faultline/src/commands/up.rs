//! `faultline up`: the service, until it is told to stop.

use crate::cli::{Common, Up};
use crate::client::{Beacon, settings};
use crate::failure::{Exit, Failure};
use crate::service::{self, Service};

pub fn run(common: &Common, arguments: &Up) -> Result<Exit, Failure> {
    let mut settings = settings(common)?;
    if let Some(listen) = &arguments.listen {
        let wrong =
            |_| Failure::new(Exit::WrongUse, format!("{listen:?} is no address"), "write an address and a port such as 127.0.0.1:8470");
        settings.listen = listen.parse().map_err(wrong)?;
    }
    service::log_to_stderr(&settings);
    let fails = |error: &(dyn std::error::Error + 'static)| Failure::of(Exit::Failed, error, "");
    let service = Service::open(&settings).map_err(|error| fails(&error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(|error| fails(&error))?;
    let folder = settings.data_folder.clone();
    let served = runtime.block_on(async {
        service
            .serve(&settings, move |url| {
                eprintln!("faultline listens at {url}; its data is in {}", folder.display());
                Beacon::light(&folder, url.to_owned())
            })
            .await
    });
    drop(runtime);
    let stopped = service.stop();
    served.map_err(|error| fails(&error))?;
    stopped.map_err(|error| fails(&error))?;
    eprintln!("faultline has stopped; nothing is lost");
    Ok(Exit::Done)
}
