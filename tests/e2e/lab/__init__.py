"""What the end-to-end tests are made of, written independently of Vigil's C code.

secp      recoverable secp256k1 signatures and zbase32
teos      locators, blobs, signed messages, receipts, an HTTP client (spec/teos.md)
bitcoin   transactions, blocks, regtest mining, chains that fork (spec/bitcoin.md)
node      a Bitcoin node on the kernel's TCP, well behaved unless told otherwise, and its JSON-RPC
netns     network namespaces that live as long as the test
link      control's side of the link to the dataplane, which sends what it is told, right or wrong
programs  Vigil's programs, started in a folder of their own and stopped by process id
"""
