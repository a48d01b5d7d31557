/* SHA-256 by the SHA extensions over four messages at once (FIPS 180-4 section 6.2.2), with AVX's three-operand
   forms for what the extensions leave to do.  Written in assembly because compilers keep more of the sixteen
   registers' worth of live values than there are, and spill: here the states stay in xmm1..xmm8, the newest words of
   each schedule in xmm9..xmm12, and the older words in memory from the start.

   Only 128-bit forms: mixed with a 256-bit one, each SHA instruction, which has no VEX form, would stall for
   hundreds of cycles.

   State of a message: 32 bytes, ABEF then CDGH, first word highest, as sha256rnds2 wants them. */
	.intel_syntax noprefix

#define SAVED_OFF 256	/* above four schedules of four vectors */
#define FRAME_SZ  384

	.section .rodata
	.balign 64
swap_mask:
	.byte 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12
	.balign 64
round_k:
	.long 0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5
	.long 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174
	.long 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da
	.long 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967
	.long 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85
	.long 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070
	.long 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3
	.long 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2

	.text

/* Vector i of the states as they were before the block.  Below it lie the schedules: a ring of four vectors for each
   message, of which the newest is also in a register, because the next one needs it at once. */
#define SAVED(i) [rsp + SAVED_OFF + 16 * (i)]

	.macro rounds4 abef, cdgh
	sha256rnds2 \cdgh, \abef, xmm0
	vpshufd xmm0, xmm0, 0x0e
	sha256rnds2 \abef, \cdgh, xmm0
	.endm

/* Rounds 4g..4g+3, g < 4, of message m: words from the block at p; l gets them. */
	.macro first g, m, p, abef, cdgh, l
	vmovdqu \l, [\p + 16 * \g]
	vpshufb \l, \l, xmm15
	vmovdqa [rsp + 64 * \m + 16 * \g], \l
	vpaddd xmm0, \l, [r9 + 16 * \g]
	rounds4 \abef, \cdgh
	.endm

/* Rounds 4g..4g+3, g >= 4: l holds the four words before, and gets the next four. */
	.macro later g, m, abef, cdgh, l, t, u
	vmovdqa \t, [rsp + 64 * \m + 16 * (\g % 4)]
	vpalignr \u, \l, [rsp + 64 * \m + 16 * ((\g + 2) % 4)], 4
	sha256msg1 \t, [rsp + 64 * \m + 16 * ((\g + 1) % 4)]
	vpaddd \t, \t, \u
	sha256msg2 \t, \l
	vmovdqa \l, \t
	.if \g < 15
	vmovdqa [rsp + 64 * \m + 16 * (\g % 4)], \t
	.endif
	vpaddd xmm0, \t, [r9 + 16 * \g]
	rounds4 \abef, \cdgh
	.endm

/* void txid_shani4_blocks(struct hash256 *const st[4], const uint8_t *const p[4], size_t cnt)
   cnt >= 1 blocks from each p[i] into *st[i]. */
	.globl txid_shani4_blocks
	.hidden txid_shani4_blocks
	.type txid_shani4_blocks, @function
	.balign 64
txid_shani4_blocks:
	push rbp
	mov rbp, rsp
	sub rsp, FRAME_SZ
	and rsp, -64
	mov rax, [rdi]
	mov rcx, [rdi + 8]
	vmovdqu xmm1, [rax]
	vmovdqu xmm2, [rax + 16]
	vmovdqu xmm3, [rcx]
	vmovdqu xmm4, [rcx + 16]
	mov rax, [rdi + 16]
	mov rcx, [rdi + 24]
	vmovdqu xmm5, [rax]
	vmovdqu xmm6, [rax + 16]
	vmovdqu xmm7, [rcx]
	vmovdqu xmm8, [rcx + 16]
	mov r8, [rsi]
	mov r10, [rsi + 8]
	mov r11, [rsi + 16]
	mov rsi, [rsi + 24]
	lea r9, [rip + round_k]
	.balign 32
1:
	vmovdqa xmm15, [rip + swap_mask]
	vmovdqa SAVED(0), xmm1
	vmovdqa SAVED(1), xmm2
	vmovdqa SAVED(2), xmm3
	vmovdqa SAVED(3), xmm4
	vmovdqa SAVED(4), xmm5
	vmovdqa SAVED(5), xmm6
	vmovdqa SAVED(6), xmm7
	vmovdqa SAVED(7), xmm8
	.irp g, 0, 1, 2, 3
	first \g, 0, r8, xmm1, xmm2, xmm9
	first \g, 1, r10, xmm3, xmm4, xmm10
	first \g, 2, r11, xmm5, xmm6, xmm11
	first \g, 3, rsi, xmm7, xmm8, xmm12
	.endr
	.irp g, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	later \g, 0, xmm1, xmm2, xmm9, xmm13, xmm14
	later \g, 1, xmm3, xmm4, xmm10, xmm15, xmm14
	later \g, 2, xmm5, xmm6, xmm11, xmm13, xmm14
	later \g, 3, xmm7, xmm8, xmm12, xmm15, xmm14
	.endr
	vpaddd xmm1, xmm1, SAVED(0)
	vpaddd xmm2, xmm2, SAVED(1)
	vpaddd xmm3, xmm3, SAVED(2)
	vpaddd xmm4, xmm4, SAVED(3)
	vpaddd xmm5, xmm5, SAVED(4)
	vpaddd xmm6, xmm6, SAVED(5)
	vpaddd xmm7, xmm7, SAVED(6)
	vpaddd xmm8, xmm8, SAVED(7)
	add r8, 64
	add r10, 64
	add r11, 64
	add rsi, 64
	dec rdx
	jnz 1b

	mov rax, [rdi]
	mov rcx, [rdi + 8]
	vmovdqu [rax], xmm1
	vmovdqu [rax + 16], xmm2
	vmovdqu [rcx], xmm3
	vmovdqu [rcx + 16], xmm4
	mov rax, [rdi + 16]
	mov rcx, [rdi + 24]
	vmovdqu [rax], xmm5
	vmovdqu [rax + 16], xmm6
	vmovdqu [rcx], xmm7
	vmovdqu [rcx + 16], xmm8
	mov rsp, rbp
	pop rbp
	ret
	.size txid_shani4_blocks, . - txid_shani4_blocks

/* W + K of the block that pads 64 bytes (0x80, zeros, 512), each vector as the first and as the second
   sha256rnds2 of a group want it. */
	.section .rodata
	.balign 64
pad_wk:
	.long 0xc28a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0xb5c0fbcf, 0xe9b5dba5, 0xb5c0fbcf, 0xe9b5dba5
	.long 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0x923f82a4, 0xab1c5ed5, 0x923f82a4, 0xab1c5ed5
	.long 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x243185be, 0x550c7dc3, 0x243185be, 0x550c7dc3
	.long 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf374, 0x9bdc06a7, 0xc19bf374, 0x9bdc06a7, 0xc19bf374
	.long 0x649b69c1, 0xf0fe4786, 0x0fe1edc6, 0x240cf254, 0x0fe1edc6, 0x240cf254, 0x0fe1edc6, 0x240cf254
	.long 0x4fe9346f, 0x6cc984be, 0x61b9411e, 0x16f988fa, 0x61b9411e, 0x16f988fa, 0x61b9411e, 0x16f988fa
	.long 0xf2c65152, 0xa88e5a6d, 0xb019fc65, 0xb9d99ec7, 0xb019fc65, 0xb9d99ec7, 0xb019fc65, 0xb9d99ec7
	.long 0x9a1231c3, 0xe70eeaa0, 0xfdb1232b, 0xc7353eb0, 0xfdb1232b, 0xc7353eb0, 0xfdb1232b, 0xc7353eb0
	.long 0x3069bad5, 0xcb976d5f, 0x5a0f118f, 0xdc1eeefd, 0x5a0f118f, 0xdc1eeefd, 0x5a0f118f, 0xdc1eeefd
	.long 0x0a35b689, 0xde0b7a04, 0x58f4ca9d, 0xe15d5b16, 0x58f4ca9d, 0xe15d5b16, 0x58f4ca9d, 0xe15d5b16
	.long 0x007f3e86, 0x37088980, 0xa507ea32, 0x6fab9537, 0xa507ea32, 0x6fab9537, 0xa507ea32, 0x6fab9537
	.long 0x17406110, 0x0d8cd6f1, 0xcdaa3b6d, 0xc0bbbe37, 0xcdaa3b6d, 0xc0bbbe37, 0xcdaa3b6d, 0xc0bbbe37
	.long 0x83613bda, 0xdb48a363, 0x0b02e931, 0x6fd15ca7, 0x0b02e931, 0x6fd15ca7, 0x0b02e931, 0x6fd15ca7
	.long 0x521afaca, 0x31338431, 0x6ed41a95, 0x6d437890, 0x6ed41a95, 0x6d437890, 0x6ed41a95, 0x6d437890
	.long 0xc39c91f2, 0x9eccabbd, 0xb5c9a0e6, 0x532fb63c, 0xb5c9a0e6, 0x532fb63c, 0xb5c9a0e6, 0x532fb63c
	.long 0xd2c741c6, 0x07237ea3, 0xa4954b68, 0x4c191d76, 0xa4954b68, 0x4c191d76, 0xa4954b68, 0x4c191d76
	.text

/* void txid_shani4_pad64(struct hash256 st[4])
   Runs that block, whose schedule is the same for all, into four states that lie side by side. */
	.globl txid_shani4_pad64
	.hidden txid_shani4_pad64
	.type txid_shani4_pad64, @function
	.balign 64
txid_shani4_pad64:
	vmovdqu xmm1, [rdi]
	vmovdqu xmm2, [rdi + 16]
	vmovdqu xmm3, [rdi + 32]
	vmovdqu xmm4, [rdi + 48]
	vmovdqu xmm5, [rdi + 64]
	vmovdqu xmm6, [rdi + 80]
	vmovdqu xmm7, [rdi + 96]
	vmovdqu xmm8, [rdi + 112]
	lea r9, [rip + pad_wk]
	.irp g, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vmovdqa xmm0, [r9 + 32 * \g]
	sha256rnds2 xmm2, xmm1, xmm0
	sha256rnds2 xmm4, xmm3, xmm0
	sha256rnds2 xmm6, xmm5, xmm0
	sha256rnds2 xmm8, xmm7, xmm0
	vmovdqa xmm0, [r9 + 32 * \g + 16]
	sha256rnds2 xmm1, xmm2, xmm0
	sha256rnds2 xmm3, xmm4, xmm0
	sha256rnds2 xmm5, xmm6, xmm0
	sha256rnds2 xmm7, xmm8, xmm0
	.endr
	vpaddd xmm1, xmm1, [rdi]
	vpaddd xmm2, xmm2, [rdi + 16]
	vpaddd xmm3, xmm3, [rdi + 32]
	vpaddd xmm4, xmm4, [rdi + 48]
	vpaddd xmm5, xmm5, [rdi + 64]
	vpaddd xmm6, xmm6, [rdi + 80]
	vpaddd xmm7, xmm7, [rdi + 96]
	vpaddd xmm8, xmm8, [rdi + 112]
	vmovdqu [rdi], xmm1
	vmovdqu [rdi + 16], xmm2
	vmovdqu [rdi + 32], xmm3
	vmovdqu [rdi + 48], xmm4
	vmovdqu [rdi + 64], xmm5
	vmovdqu [rdi + 80], xmm6
	vmovdqu [rdi + 96], xmm7
	vmovdqu [rdi + 112], xmm8
	ret
	.size txid_shani4_pad64, . - txid_shani4_pad64

/* The second hash's words 8..15 (0x80, zeros, 256 bits), the same plus K, and the initial state. */
	.section .rodata
	.balign 64
outer_w:
	.long 0x80000000, 0, 0, 0, 0, 0, 0, 256
outer_wk:
	.long 0x5807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf274
iv:
	.long 0x9b05688c, 0x510e527f, 0xbb67ae85, 0x6a09e667, 0x5be0cd19, 0x1f83d9ab, 0xa54ff53a, 0x3c6ef372
	.text

/* From a state's two vectors to its words in order. */
	.macro in_order abef, cdgh, t
	vpshufd \abef, \abef, 0x1b
	vpshufd \cdgh, \cdgh, 0xb1
	vpblendw \t, \abef, \cdgh, 0xf0
	vpalignr \cdgh, \cdgh, \abef, 8
	.endm

/* Words 0..7 of message m from the state at place m; the rest of its schedule. */
	.macro outer_words m, t, u, v
	mov rax, [rdi + 8 * \m]
	vmovdqu \t, [rax]
	vmovdqu \u, [rax + 16]
	in_order \t, \u, \v
	vmovdqa [rsp + 64 * \m], \v
	vmovdqa [rsp + 64 * \m + 16], \u
	vmovdqa [rsp + 64 * \m + 32], xmm15
	vmovdqa [rsp + 64 * \m + 48], xmm9
	.endm

/* Rounds 4g..4g+3, g < 2. */
	.macro outer_first g, m, abef, cdgh, t
	vmovdqa \t, [rsp + 64 * \m + 16 * \g]
	vpaddd xmm0, \t, [r9 + 16 * \g]
	rounds4 \abef, \cdgh
	.endm

/* Rounds 4g..4g+3, g = 2, 3. */
	.macro outer_pad g, abef, cdgh
	vmovdqa xmm0, [rip + outer_wk + 16 * (\g - 2)]
	rounds4 \abef, \cdgh
	.endm

	.macro outer_out m, abef, cdgh, t
	vpaddd \abef, \abef, xmm13
	vpaddd \cdgh, \cdgh, xmm14
	in_order \abef, \cdgh, \t
	vpshufb \t, \t, xmm15
	vpshufb \cdgh, \cdgh, xmm15
	mov rax, [rdi + 8 * \m]
	vmovdqu [rax], \t
	vmovdqu [rax + 16], \cdgh
	.endm

/* void txid_shani4_finish(struct hash256 *const st[4])
   The second hash: from the state of the first to the bytes of the digest, in place. */
	.globl txid_shani4_finish
	.hidden txid_shani4_finish
	.type txid_shani4_finish, @function
	.balign 64
txid_shani4_finish:
	push rbp
	mov rbp, rsp
	sub rsp, FRAME_SZ
	and rsp, -64
	lea r9, [rip + round_k]
	vmovdqa xmm15, [rip + outer_w]
	vmovdqa xmm9, [rip + outer_w + 16]
	outer_words 0, xmm1, xmm2, xmm3
	outer_words 1, xmm4, xmm5, xmm6
	outer_words 2, xmm1, xmm2, xmm3
	outer_words 3, xmm4, xmm5, xmm6
	vmovdqa xmm1, [rip + iv]
	vmovdqa xmm2, [rip + iv + 16]
	vmovdqa xmm3, xmm1
	vmovdqa xmm4, xmm2
	vmovdqa xmm5, xmm1
	vmovdqa xmm6, xmm2
	vmovdqa xmm7, xmm1
	vmovdqa xmm8, xmm2
	vmovdqa xmm10, xmm9
	vmovdqa xmm11, xmm9
	vmovdqa xmm12, xmm9
	.irp g, 0, 1
	outer_first \g, 0, xmm1, xmm2, xmm13
	outer_first \g, 1, xmm3, xmm4, xmm14
	outer_first \g, 2, xmm5, xmm6, xmm13
	outer_first \g, 3, xmm7, xmm8, xmm14
	.endr
	.irp g, 2, 3
	outer_pad \g, xmm1, xmm2
	outer_pad \g, xmm3, xmm4
	outer_pad \g, xmm5, xmm6
	outer_pad \g, xmm7, xmm8
	.endr
	.irp g, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	later \g, 0, xmm1, xmm2, xmm9, xmm13, xmm14
	later \g, 1, xmm3, xmm4, xmm10, xmm15, xmm14
	later \g, 2, xmm5, xmm6, xmm11, xmm13, xmm14
	later \g, 3, xmm7, xmm8, xmm12, xmm15, xmm14
	.endr
	vmovdqa xmm13, [rip + iv]
	vmovdqa xmm14, [rip + iv + 16]
	vmovdqa xmm15, [rip + swap_mask]
	outer_out 0, xmm1, xmm2, xmm9
	outer_out 1, xmm3, xmm4, xmm10
	outer_out 2, xmm5, xmm6, xmm11
	outer_out 3, xmm7, xmm8, xmm12
	mov rsp, rbp
	pop rbp
	ret
	.size txid_shani4_finish, . - txid_shani4_finish

	.section .note.GNU-stack, "", @progbits
