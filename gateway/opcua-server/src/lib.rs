//! One OPC UA address space for every device, whatever protocol it speaks.
