//! Maps the core's error to Python exceptions.

use std::io;
use std::path::Path;

use pyo3::PyErr;
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyIndexError, PyKeyboardInterrupt, PyOSError, PyValueError};

use crate::error::Error;

create_exception!(
    pdiff._core,
    PdiffError,
    PyException,
    "Base of every error that `pdiff` raises on purpose."
);
create_exception!(
    pdiff._core,
    InputError,
    PdiffError,
    "A file or its content is refused."
);

create_exception!(
    pdiff._core,
    CodeError,
    InputError,
    "A file is refused because it holds code or objects: `pdiff convert` can help, and only here."
);

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Io { path, source } => os_error(&path, &source, message),
            Error::Code { .. } => CodeError::new_err(message),
            Error::Input { .. } | Error::NonFinite { .. } | Error::Refused(_) => {
                InputError::new_err(message)
            }
            Error::Value(_) => PyValueError::new_err(message),
            Error::Index { .. } => PyIndexError::new_err(message),
            Error::Interrupted => PyKeyboardInterrupt::new_err(()),
            Error::Forked | Error::Internal(_) => PdiffError::new_err(message),
        }
    }
}

/// `OSError` of three arguments: Python picks the subclass by errno and puts the path in the message.
fn os_error(path: &Path, source: &io::Error, message: String) -> PyErr {
    let Some(errno) = source.raw_os_error() else {
        return PyOSError::new_err(message);
    };
    let text = source.to_string();
    let suffix = format!(" (os error {errno})");
    let text = text.strip_suffix(&suffix).unwrap_or(&text).to_owned();
    PyOSError::new_err((errno, text, path.as_os_str().to_owned()))
}
