//! Diffusion of live frames on ONNX graphs.
