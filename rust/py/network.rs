//! Wrapper of small networks.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::buffer::Array;
use super::enter::{enter, guard};
use crate::folded::{self, Folded};
use crate::network;
use crate::tile::{Patches, SAMPLES};

/// A small classifier with the samples last, run on a block of samples after the other.
#[pyclass(module = "pdiff._core")]
#[derive(Default)]
pub struct SmallNetwork {
    network: network::Network,
    products: Vec<Product>,
}

/// The tensors of a product, borrowed for good and read anew in each run.
struct Product {
    weight: Array<f32>,
    shape: [usize; 3],
    bias: Option<Array<f32>>,
    norm: Option<Norm>,
}

struct Norm {
    mean: Array<f32>,
    variance: Array<f32>,
    weight: Option<Array<f32>>,
    bias: Option<Array<f32>>,
    eps: f32,
}

type Object<'py> = Bound<'py, PyAny>;
/// Mean, variance, weight, bias and eps.
type NormObjects<'py> = (
    Object<'py>,
    Object<'py>,
    Option<Object<'py>>,
    Option<Object<'py>>,
    f32,
);

#[pymethods]
impl SmallNetwork {
    /// Samples in a block.
    #[classattr]
    const SAMPLES: usize = SAMPLES;

    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Make room for `rows` more numbers a sample and return which row is the first.
    fn room(&mut self, rows: usize) -> PyResult<usize> {
        guard(|| self.network.room(rows))
    }

    /// Add a product with `weight` [O, C, P] at each of `places`.
    #[pyo3(signature = (source, target, *, rows, before, stride, places, weight, bias, norm, relu))]
    #[allow(clippy::too_many_arguments)]
    fn product<'py>(
        &mut self,
        source: usize,
        target: usize,
        rows: usize,
        before: usize,
        stride: usize,
        places: usize,
        weight: &Object<'py>,
        bias: Option<Object<'py>>,
        norm: Option<NormObjects<'py>>,
        relu: bool,
    ) -> PyResult<()> {
        let weight = Array::get(weight, "weight")?;
        let shape = weight.axes("three axes")?;
        let [outputs, channels, width] = shape;
        let vector = |object: Object<'py>, name| vector(&object, name, outputs);
        let read = |(mean, variance, weight, bias, eps): NormObjects<'py>| {
            PyResult::Ok(Norm {
                mean: vector(mean, "mean")?,
                variance: vector(variance, "variance")?,
                weight: weight
                    .map(|weight| vector(weight, "norm's weight"))
                    .transpose()?,
                bias: bias.map(|bias| vector(bias, "norm's bias")).transpose()?,
                eps,
            })
        };
        let product = Product {
            weight,
            shape,
            bias: bias.map(|bias| vector(bias, "bias")).transpose()?,
            norm: norm.map(read).transpose()?,
        };
        guard(|| {
            let source = source..source.saturating_add(rows);
            let (patches, terms) = (Patches { stride, before }, channels * width);
            self.network
                .product(source, patches, terms, target, outputs, places, relu)
        })?;
        self.products.push(product);
        Ok(())
    }

    /// Add a sum of as many rows from each of `sources`, divided by `divisor`.
    #[pyo3(signature = (sources, target, *, rows, divisor, relu))]
    fn sum(
        &mut self,
        sources: Vec<usize>,
        target: usize,
        rows: usize,
        divisor: f32,
        relu: bool,
    ) -> PyResult<()> {
        guard(|| self.network.sum(sources, target, rows, divisor, relu))
    }

    /// Return what the products multiply with, from their tensors as they are now.
    fn fold(&self) -> FoldedModel {
        FoldedModel(self.products.iter().map(Product::fold).collect())
    }

    /// Write the margins of all samples with each model to `out` [M, N].
    #[pyo3(signature = (models, inputs, targets, out, *, logits, classes, threads))]
    #[allow(clippy::too_many_arguments)]
    fn margins(
        &self,
        py: Python<'_>,
        models: Vec<Bound<'_, FoldedModel>>,
        inputs: &Object<'_>,
        targets: &Object<'_>,
        out: &Object<'_>,
        logits: usize,
        classes: usize,
        threads: usize,
    ) -> PyResult<()> {
        let inputs = Array::<f32>::get(inputs, "inputs")?;
        let targets = Array::<i64>::get(targets, "targets")?;
        let mut out = Array::<f32>::get(out, "out")?;
        let [blocks, _, samples] = inputs.axes("three axes")?;
        let [count] = targets.axes("one axis")?;
        let wanted = [models.len(), count];
        if out.shape() != wanted {
            let found = out.shape();
            let message = format!("out has shape {found:?}; accepted: {wanted:?}");
            return Err(PyValueError::new_err(message));
        }
        let wanted = count.div_ceil(SAMPLES);
        if [blocks, samples] != [wanted, SAMPLES] {
            return Err(PyValueError::new_err(format!(
                "{blocks} blocks of {samples} inputs; accepted: {wanted} of {SAMPLES} for {count} targets"
            )));
        }
        let models: Vec<&[Folded]> = models.iter().map(|model| &*model.get().0).collect();
        if models
            .iter()
            .any(|model| model.len() != self.products.len())
        {
            return Err(PyValueError::new_err(
                "a model of another network; accepted: what fold() returned",
            ));
        }
        let (inputs, targets) = (inputs.as_slice().as_chunks().0, targets.as_slice());
        let logits = logits..logits.saturating_add(classes);
        let out = out.as_mut_slice()?;
        enter(py, |cancel| {
            let samples = (targets, out);
            self.network
                .margins(inputs, &models, logits, samples, threads, cancel)
        })
    }
}

/// What the products of a network multiply with, for one model.
#[pyclass(frozen, module = "pdiff._core")]
pub struct FoldedModel(Vec<Folded>);

impl Product {
    fn fold(&self) -> Folded {
        let bias = self.bias.as_ref().map(Array::as_slice);
        let norm = self.norm.as_ref().map(|norm| folded::Norm {
            mean: norm.mean.as_slice(),
            variance: norm.variance.as_slice(),
            weight: norm.weight.as_ref().map(Array::as_slice),
            bias: norm.bias.as_ref().map(Array::as_slice),
            eps: norm.eps,
        });
        Folded::new(self.weight.as_slice(), self.shape, bias, norm)
    }
}

/// The argument `name`, [count].
fn vector(object: &Object<'_>, name: &'static str, count: usize) -> PyResult<Array<f32>> {
    let array = Array::get(object, name)?;
    match array.axes::<1>("one axis")? {
        [found] if found == count => Ok(array),
        [found] => Err(PyValueError::new_err(format!(
            "{name} has {found} numbers; accepted: {count}"
        ))),
    }
}
