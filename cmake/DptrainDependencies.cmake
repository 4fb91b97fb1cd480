# Where each library comes from. All are Debian packages (scripts/bootstrap installs them).

find_package(Threads REQUIRED)
find_package(fmt 9 REQUIRED)                 # libfmt-dev: messages
find_package(yaml-cpp 0.7 REQUIRED)          # libyaml-cpp-dev: the YAML event parser, used by lib/spec alone
find_package(nlohmann_json 3.11 REQUIRED)    # nlohmann-json3-dev: metrics, summaries, checkpoint state
find_package(CLI11 2 REQUIRED)               # libcli11-dev: the command line, used by apps alone
find_package(ZLIB REQUIRED)                  # zlib1g-dev: gzipped datasets
find_package(CURL REQUIRED)                  # libcurl4-openssl-dev: dataset downloads
find_package(OpenSSL REQUIRED COMPONENTS Crypto)  # libssl-dev: SHA-256 of dataset files
find_package(OneDNN 2.6 REQUIRED)              # libdnnl-dev: oneDNN, the CPU kernels
find_package(xxHash REQUIRED)                # libxxhash-dev: weight hashes
