// The tag of C++ exceptions, which the compiler's `throw` and `catch` name; zig's libraries lack it.
	.tagtype	__cpp_exception i32
	.globl	__cpp_exception
__cpp_exception:
