// For builds without libcurl.

#include "core/error.h"
#include "data/files/http.h"

namespace dptrain {

HttpResult http_get(const HttpRequest& request) {
  fail(ExitStatus::data,
       "this build of dptrain has no libcurl and cannot download; fetch {} on a machine that can, "
       "and put the files into a folder of the dataset's name in the folder that DPTRAIN_DATA names",
       request.url);
}

}  // namespace dptrain
