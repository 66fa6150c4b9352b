//! stub
use super::{Bytes, Isa, Pool, matmul_transposed};
use half::f16;
#[derive(Debug)]
pub(crate) struct Matrix { rows: usize, columns: usize, bytes: usize, dense: Vec<f32> }
impl Matrix {
    pub(crate) fn palettized(rows: usize, columns: usize, bits: u32, rows_per_table: usize, indices: Bytes, tables: &[f16]) -> Option<Matrix> {
        let n = rows*columns; if indices.len()*8 < n*bits as usize || tables.len() != rows/rows_per_table << bits || columns * bits as usize % 8 != 0 { return None }
        let dense = (0..n).map(|i| { let b=i*bits as usize; let (y,s)=(b/8,b%8); let lo=indices[y] as usize; let hi=indices.get(y+1).copied().unwrap_or(0) as usize; let ix=((hi<<8|lo)>>s)&((1<<bits)-1); tables[((i/columns/rows_per_table)<<bits)+ix].to_f32()}).collect();
        Some(Matrix{rows,columns,bytes:indices.len(),dense})
    }
    pub(crate) fn fp16(rows: usize, columns: usize, data: Bytes) -> Option<Matrix> {
        let (w,_) = data.as_chunks::<2>(); if w.len()!=rows*columns {return None}
        Some(Matrix{rows,columns,bytes:data.len(),dense:w.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect()})
    }
    pub(crate) fn rows(&self)->usize{self.rows}
    pub(crate) fn columns(&self)->usize{self.columns}
    pub(crate) fn byte_len(&self)->usize{self.bytes}
    pub(crate) fn form(&self)->String{"stub".into()}
    pub(crate) fn unpack(&self,_isa:Isa,first:usize,out:&mut [f32]){ out.copy_from_slice(&self.dense[first*self.columns..first*self.columns+out.len()]) }
}
pub(crate) struct Rows { x: Vec<f32> }
impl Rows { pub(crate) fn new(_i: Isa, x: &[f32], _c: usize, _p: &Pool) -> Rows { Rows{x:x.to_vec()} } }
pub(crate) struct Product<'a> { pub(crate) weight: &'a Matrix, pub(crate) out: &'a mut [f32] }
pub(crate) fn multiply(_i: Isa,_p:&Pool,x:&Rows,products:&mut [Product<'_>]) { for p in products { matmul_transposed(&x.x,&p.weight.dense,p.weight.columns,p.out) } }
pub(crate) fn multiply_exact(_i: Isa,_p:&Pool,w:&Matrix,x:&[f32],out:&mut [f32]) { matmul_transposed(&w.dense,x,w.columns,out) }
pub(crate) fn read_bandwidth(_p:&Pool)->f64{18e9}
