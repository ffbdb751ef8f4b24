//! One ONNX file, open: the [`Graph`] contract on an ONNX Runtime session.

use std::borrow::Cow;
use std::fmt;
use std::time::Instant;

use ::ort::session::{RunOptions, Session, SessionInputValue};
use ::ort::value::{
    DynValue, Outlet, Tensor as OrtTensor, TensorElementType, TensorRef, ValueType,
};
use half::f16;

use super::super::{Element, Feed, Graph, Port, Tensor, Values};
use crate::error::EngineError;
use crate::lora::NewWeight;
use crate::watch::{Stoppable, Watch};

/// What a run is stopped by.
struct Options(Option<RunOptions>);

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Options")
    }
}

impl Stoppable for Options {
    fn stop(&self) {
        // Refused never, by the library's own account; the run then ends by itself.
        let _ = self.0.as_ref().map(RunOptions::terminate);
    }

    fn go_on(&self) {
        // As above.
        let _ = self.0.as_ref().map(RunOptions::unterminate);
    }
}

#[derive(Debug)]
pub(super) struct OrtGraph {
    role: &'static str,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    session: Session,
}

impl OrtGraph {
    pub(super) fn new(role: &'static str, session: Session) -> Self {
        let inputs = session.inputs().iter().map(port).collect();
        let outputs = session.outputs().iter().map(port).collect();
        Self {
            role,
            inputs,
            outputs,
            session,
        }
    }
}

impl Graph for OrtGraph {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn run(
        &mut self,
        feeds: &[Feed<'_>],
        wanted: &mut [(&str, &mut Tensor)],
        watch: &Watch,
    ) -> Result<(), EngineError> {
        let role = self.role;
        let failed = |reason: String| EngineError::InferenceFailed {
            graph: role.into(),
            reason,
        };
        let mut values: Vec<(Cow<'_, str>, SessionInputValue<'_>)> =
            Vec::with_capacity(feeds.len());
        for feed in feeds {
            let element = self.inputs.iter().find(|port| port.name == feed.name);
            let element = element.map_or(Element::Other, |port| port.element);
            let value = value(feed, element).map_err(|error| failed(error.message().into()))?;
            values.push((feed.name.into(), value));
        }
        // Options are refused only when there is no memory left; such a run cannot be stopped, but it can be made.
        let options = watch.runtime(|| Box::new(Options(RunOptions::new().ok())));
        let options = options.downcast_ref::<Options>();
        if watch.is_stopped() {
            return Err(EngineError::Interrupted);
        }
        let began = Instant::now();
        let run = match options.and_then(|options| options.0.as_ref()) {
            Some(options) => self.session.run_with_options(values, options),
            None => self.session.run(values),
        };
        watch.add(began.elapsed());
        let outputs = match run {
            Ok(outputs) => outputs,
            Err(_) if watch.is_stopped() => return Err(EngineError::Interrupted),
            Err(error) => return Err(failed(error.message().into())),
        };
        for (name, tensor) in wanted {
            let output = outputs
                .get(*name)
                .ok_or_else(|| failed(format!("it has no `{name}`")))?;
            tensor.values.clear();
            let shape = if let Ok((shape, data)) = output.try_extract_tensor::<f32>() {
                tensor.values.extend_from_slice(data);
                shape
            } else {
                let (shape, data) = output
                    .try_extract_tensor::<f16>()
                    .map_err(|error| failed(format!("output `{name}`: {}", error.message())))?;
                tensor.values.extend(data.iter().map(|half| half.to_f32()));
                shape
            };
            tensor.shape.clear();
            tensor
                .shape
                .extend(shape.iter().map(|side| usize::try_from(*side).unwrap_or(0)));
        }
        Ok(())
    }
}

/// Wraps the numbers where the file wants them as they are, casts a copy where it does not.
fn value<'v>(feed: &Feed<'v>, wanted: Element) -> ::ort::Result<SessionInputValue<'v>> {
    Ok(match (feed.values, wanted) {
        (Values::Real(real), Element::F32) => {
            TensorRef::from_array_view((feed.shape, real))?.into()
        }
        (Values::Whole(whole), Element::I64) => {
            TensorRef::from_array_view((feed.shape, whole))?.into()
        }
        (Values::Real(real), Element::F16) => {
            owned(feed.shape, real.iter().map(|v| f16::from_f32(*v)).collect())?
        }
        (Values::Real(real), Element::I64) => {
            owned(feed.shape, real.iter().map(|v| *v as i64).collect())?
        }
        (Values::Real(real), Element::I32) => {
            owned(feed.shape, real.iter().map(|v| *v as i32).collect())?
        }
        (Values::Whole(whole), Element::I32) => {
            let cast = |v: &i64| i32::try_from(*v).unwrap_or(i32::MAX);
            owned(feed.shape, whole.iter().map(cast).collect())?
        }
        (Values::Whole(whole), Element::F32 | Element::F16) => {
            owned(feed.shape, whole.iter().map(|v| *v as f32).collect())?
        }
        // Refused when the model was opened; the runtime would say the same with other words.
        (Values::Real(real), Element::Other) => {
            TensorRef::from_array_view((feed.shape, real))?.into()
        }
        (Values::Whole(whole), Element::Other) => {
            TensorRef::from_array_view((feed.shape, whole))?.into()
        }
    })
}

fn owned<T: ::ort::value::PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static>(
    shape: &[usize],
    values: Vec<T>,
) -> ::ort::Result<SessionInputValue<'static>> {
    Ok(OrtTensor::from_array((shape, values))?.into())
}

/// A weight to open a graph with.
pub(super) fn weight(weight: &NewWeight) -> ::ort::Result<DynValue> {
    let shape = weight.shape.clone();
    if weight.half {
        let values: Vec<f16> = weight.values.iter().map(|v| f16::from_f32(*v)).collect();
        Ok(OrtTensor::from_array((shape, values))?.into_dyn())
    } else {
        Ok(OrtTensor::from_array((shape, weight.values.clone()))?.into_dyn())
    }
}

fn port(outlet: &Outlet) -> Port {
    let (element, shape) = match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => (
            element(*ty),
            shape
                .iter()
                .map(|side| usize::try_from(*side).ok())
                .collect(),
        ),
        _ => (Element::Other, Vec::new()),
    };
    Port {
        name: outlet.name().to_string(),
        element,
        shape,
    }
}

fn element(ty: TensorElementType) -> Element {
    match ty {
        TensorElementType::Float32 => Element::F32,
        TensorElementType::Float16 => Element::F16,
        TensorElementType::Int32 => Element::I32,
        TensorElementType::Int64 => Element::I64,
        _ => Element::Other,
    }
}
