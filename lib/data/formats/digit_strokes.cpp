#include "data/formats/digit_strokes.h"

#include "core/error.h"

namespace dptrain {
namespace {

// Named k, digit, way of writing, stroke.

// 0
constexpr StrokePoint k0a1[] = {{0.05f, -1.0f}, {-0.42f, -0.72f}, {-0.58f, 0.0f},  {-0.42f, 0.7f}, {0.02f, 1.0f},
                                {0.45f, 0.7f},  {0.58f, 0.0f},    {0.42f, -0.72f}, {0.05f, -1.0f}};
constexpr Stroke k0a[] = {k0a1};
constexpr StrokePoint k0b1[] = {{0.3f, -0.85f}, {-0.1f, -1.0f}, {-0.48f, -0.55f}, {-0.55f, 0.15f}, {-0.3f, 0.85f},
                                {0.12f, 0.98f}, {0.5f, 0.5f},   {0.52f, -0.2f},   {0.3f, -0.8f},   {0.02f, -0.92f}};
constexpr Stroke k0b[] = {k0b1};
constexpr StrokePoint k0c1[] = {{0.15f, -1.0f}, {-0.25f, -0.6f}, {-0.4f, 0.1f},   {-0.28f, 0.8f},  {0.02f, 1.0f},
                                {0.3f, 0.6f},   {0.38f, -0.1f},  {0.28f, -0.75f}, {-0.05f, -0.95f}};
constexpr Stroke k0c[] = {k0c1};
constexpr Glyph k0[] = {k0a, k0b, k0c};

// 1
constexpr StrokePoint k1a1[] = {{0.02f, -1.0f}, {0.0f, 0.0f}, {-0.02f, 1.0f}};
constexpr Stroke k1a[] = {k1a1};
constexpr StrokePoint k1b1[] = {{0.2f, -1.0f}, {0.0f, 0.0f}, {-0.2f, 1.0f}};
constexpr Stroke k1b[] = {k1b1};
constexpr StrokePoint k1c1[] = {{-0.32f, -0.62f}, {-0.12f, -0.8f}, {0.05f, -1.0f}};
constexpr StrokePoint k1c2[] = {{0.05f, -1.0f}, {0.03f, 0.0f}, {0.0f, 1.0f}};
constexpr Stroke k1c[] = {k1c1, k1c2};
constexpr StrokePoint k1d1[] = {{-0.3f, -0.65f}, {0.0f, -1.0f}};
constexpr StrokePoint k1d2[] = {{0.0f, -1.0f}, {0.01f, 0.0f}, {0.0f, 0.98f}};
constexpr StrokePoint k1d3[] = {{-0.38f, 0.98f}, {0.0f, 0.97f}, {0.38f, 0.98f}};
constexpr Stroke k1d[] = {k1d1, k1d2, k1d3};
constexpr Glyph k1[] = {k1a, k1b, k1c, k1d};

// 2
constexpr StrokePoint k2a1[] = {{-0.5f, -0.55f}, {-0.32f, -0.9f}, {0.1f, -1.0f},  {0.46f, -0.68f},
                                {0.36f, -0.18f}, {-0.08f, 0.4f},  {-0.55f, 0.93f}};
constexpr StrokePoint k2a2[] = {{-0.55f, 0.93f}, {0.0f, 0.88f}, {0.6f, 0.92f}};
constexpr Stroke k2a[] = {k2a1, k2a2};
constexpr StrokePoint k2b1[] = {{-0.45f, -0.6f}, {-0.2f, -0.95f}, {0.22f, -0.95f}, {0.46f, -0.55f},
                                {0.2f, 0.05f},   {-0.2f, 0.6f},   {-0.5f, 0.9f},   {-0.62f, 0.72f},
                                {-0.4f, 0.58f},  {0.0f, 0.78f},   {0.62f, 0.95f}};
constexpr Stroke k2b[] = {k2b1};
constexpr StrokePoint k2c1[] = {{-0.48f, -0.8f}, {-0.05f, -1.0f}, {0.42f, -0.8f}, {0.35f, -0.35f}, {-0.5f, 0.95f}};
constexpr StrokePoint k2c2[] = {{-0.5f, 0.95f}, {0.58f, 0.82f}};
constexpr Stroke k2c[] = {k2c1, k2c2};
constexpr StrokePoint k2d1[] = {{-0.4f, -0.35f}, {-0.42f, -0.75f}, {0.0f, -1.0f}, {0.4f, -0.7f},  {0.25f, -0.1f},
                                {-0.25f, 0.5f},  {-0.52f, 0.85f},  {-0.1f, 0.8f}, {0.25f, 0.98f}, {0.6f, 0.75f}};
constexpr Stroke k2d[] = {k2d1};
constexpr Glyph k2[] = {k2a, k2b, k2c, k2d};

// 3
constexpr StrokePoint k3a1[] = {{-0.48f, -0.75f}, {-0.1f, -1.0f}, {0.38f, -0.75f}, {0.3f, -0.28f}, {-0.1f, -0.06f}};
constexpr StrokePoint k3a2[] = {{-0.1f, -0.06f}, {0.38f, 0.1f},  {0.52f, 0.5f},
                                {0.2f, 0.94f},   {-0.2f, 0.98f}, {-0.55f, 0.72f}};
constexpr Stroke k3a[] = {k3a1, k3a2};
constexpr StrokePoint k3b1[] = {{-0.5f, -0.92f}, {0.45f, -0.95f}};
constexpr StrokePoint k3b2[] = {{0.45f, -0.95f}, {-0.05f, -0.2f}};
constexpr StrokePoint k3b3[] = {{-0.05f, -0.2f}, {0.4f, -0.05f}, {0.5f, 0.45f}, {0.1f, 0.95f}, {-0.5f, 0.8f}};
constexpr Stroke k3b[] = {k3b1, k3b2, k3b3};
constexpr StrokePoint k3c1[] = {{-0.42f, -0.85f}, {0.05f, -1.0f}, {0.42f, -0.68f}, {0.2f, -0.2f},  {-0.15f, -0.02f},
                                {-0.1f, -0.14f},  {0.3f, 0.05f},  {0.48f, 0.5f},   {0.15f, 0.95f}, {-0.45f, 0.88f}};
constexpr Stroke k3c[] = {k3c1};
constexpr Glyph k3[] = {k3a, k3b, k3c};

// 4
constexpr StrokePoint k4a1[] = {{-0.3f, -1.0f}, {-0.45f, -0.4f}, {-0.5f, 0.12f}};
constexpr StrokePoint k4a2[] = {{-0.5f, 0.12f}, {0.0f, 0.08f}, {0.55f, 0.05f}};
constexpr StrokePoint k4a3[] = {{0.35f, -0.88f}, {0.3f, 0.0f}, {0.25f, 1.0f}};
constexpr Stroke k4a[] = {k4a1, k4a2, k4a3};
constexpr StrokePoint k4b1[] = {{0.25f, -1.0f}, {-0.2f, -0.4f}, {-0.6f, 0.3f}};
constexpr StrokePoint k4b2[] = {{-0.6f, 0.3f}, {0.0f, 0.28f}, {0.6f, 0.3f}};
constexpr StrokePoint k4b3[] = {{0.25f, -1.0f}, {0.24f, 0.0f}, {0.25f, 1.0f}};
constexpr Stroke k4b[] = {k4b1, k4b2, k4b3};
constexpr StrokePoint k4c1[] = {{-0.45f, -0.9f}, {-0.52f, -0.3f}, {-0.28f, 0.02f}, {0.15f, -0.02f}, {0.45f, -0.3f}};
constexpr StrokePoint k4c2[] = {{0.47f, -0.95f}, {0.4f, 0.0f}, {0.28f, 1.0f}};
constexpr Stroke k4c[] = {k4c1, k4c2};
constexpr StrokePoint k4d1[] = {{-0.05f, -1.0f}, {-0.4f, -0.2f}, {-0.5f, 0.2f}};
constexpr StrokePoint k4d2[] = {{-0.5f, 0.2f}, {0.5f, 0.12f}};
constexpr StrokePoint k4d3[] = {{0.22f, -0.4f}, {0.15f, 0.3f}, {0.1f, 1.0f}};
constexpr Stroke k4d[] = {k4d1, k4d2, k4d3};
constexpr Glyph k4[] = {k4a, k4b, k4c, k4d};

// 5
constexpr StrokePoint k5a1[] = {{0.5f, -0.95f}, {-0.38f, -0.95f}};
constexpr StrokePoint k5a2[] = {{-0.38f, -0.95f}, {-0.45f, -0.15f}};
constexpr StrokePoint k5a3[] = {{-0.45f, -0.15f}, {0.0f, -0.36f}, {0.42f, -0.1f},
                                {0.5f, 0.45f},    {0.1f, 0.95f},  {-0.5f, 0.8f}};
constexpr Stroke k5a[] = {k5a1, k5a2, k5a3};
constexpr StrokePoint k5b1[] = {{0.5f, -1.0f},  {0.0f, -0.95f}, {-0.38f, -0.72f}, {-0.28f, -0.25f},
                                {0.15f, -0.1f}, {0.5f, 0.32f},  {0.2f, 0.9f},     {-0.5f, 0.85f}};
constexpr Stroke k5b[] = {k5b1};
constexpr StrokePoint k5c1[] = {{-0.3f, -0.9f}, {-0.36f, -0.15f}};
constexpr StrokePoint k5c2[] = {{-0.36f, -0.15f}, {0.15f, -0.3f}, {0.45f, 0.2f},
                                {0.3f, 0.8f},     {-0.1f, 1.0f},  {-0.45f, 0.85f}};
constexpr StrokePoint k5c3[] = {{-0.28f, -0.9f}, {0.1f, -0.95f}, {0.58f, -1.0f}};
constexpr Stroke k5c[] = {k5c1, k5c2, k5c3};
constexpr Glyph k5[] = {k5a, k5b, k5c};

// 6
constexpr StrokePoint k6a1[] = {{0.32f, -1.0f}, {-0.15f, -0.62f}, {-0.47f, 0.08f}, {-0.4f, 0.72f}, {0.02f, 1.0f},
                                {0.45f, 0.74f}, {0.4f, 0.26f},    {0.02f, 0.08f},  {-0.4f, 0.42f}};
constexpr Stroke k6a[] = {k6a1};
constexpr StrokePoint k6b1[] = {{0.0f, -1.0f},  {-0.35f, -0.25f}, {-0.45f, 0.5f}, {-0.1f, 1.0f},  {0.35f, 0.8f},
                                {0.38f, 0.38f}, {0.08f, 0.2f},    {-0.3f, 0.4f},  {-0.42f, 0.65f}};
constexpr Stroke k6b[] = {k6b1};
constexpr StrokePoint k6c1[] = {{0.45f, -0.75f}, {0.15f, -1.0f}, {-0.3f, -0.6f}, {-0.5f, 0.1f},  {-0.35f, 0.8f},
                                {0.1f, 1.0f},    {0.45f, 0.65f}, {0.3f, 0.2f},   {-0.1f, 0.15f}, {-0.42f, 0.5f}};
constexpr Stroke k6c[] = {k6c1};
constexpr Glyph k6[] = {k6a, k6b, k6c};

// 7
constexpr StrokePoint k7a1[] = {{-0.5f, -0.9f}, {0.0f, -0.92f}, {0.5f, -0.9f}};
constexpr StrokePoint k7a2[] = {{0.5f, -0.9f}, {0.2f, -0.2f}, {-0.1f, 1.0f}};
constexpr Stroke k7a[] = {k7a1, k7a2};
constexpr StrokePoint k7b1[] = {{-0.5f, -0.85f}, {0.0f, -0.92f}, {0.5f, -0.95f}};
constexpr StrokePoint k7b2[] = {{0.5f, -0.95f}, {0.15f, -0.1f}, {-0.2f, 1.0f}};
constexpr StrokePoint k7b3[] = {{-0.28f, 0.05f}, {0.05f, 0.0f}, {0.42f, 0.02f}};
constexpr Stroke k7b[] = {k7b1, k7b2, k7b3};
constexpr StrokePoint k7c1[] = {{-0.52f, -0.6f}, {-0.5f, -0.92f}};
constexpr StrokePoint k7c2[] = {{-0.5f, -0.92f}, {0.05f, -0.85f}, {0.5f, -0.92f}};
constexpr StrokePoint k7c3[] = {{0.5f, -0.92f}, {0.1f, -0.3f}, {0.02f, 0.95f}};
constexpr Stroke k7c[] = {k7c1, k7c2, k7c3};
constexpr StrokePoint k7d1[] = {{-0.5f, -0.8f}, {-0.2f, -0.98f}, {0.2f, -0.88f}, {0.48f, -0.9f},
                                {0.3f, -0.35f}, {0.12f, 0.3f},   {0.05f, 1.0f}};
constexpr Stroke k7d[] = {k7d1};
constexpr Glyph k7[] = {k7a, k7b, k7c, k7d};

// 8
constexpr StrokePoint k8a1[] = {{0.4f, -0.72f}, {0.05f, -1.0f}, {-0.38f, -0.72f}, {-0.22f, -0.28f},
                                {0.2f, 0.05f},  {0.46f, 0.5f},  {0.08f, 1.0f},    {-0.4f, 0.72f},
                                {-0.28f, 0.2f}, {0.2f, -0.2f},  {0.42f, -0.5f},   {0.38f, -0.75f}};
constexpr Stroke k8a[] = {k8a1};
constexpr StrokePoint k8b1[] = {{0.0f, -1.0f},  {-0.36f, -0.76f}, {-0.28f, -0.26f}, {0.0f, -0.12f},
                                {0.32f, -0.3f}, {0.35f, -0.76f},  {0.0f, -1.0f}};
constexpr StrokePoint k8b2[] = {{0.0f, -0.12f}, {-0.42f, 0.2f}, {-0.44f, 0.74f}, {0.0f, 1.0f},
                                {0.44f, 0.75f}, {0.4f, 0.2f},   {0.0f, -0.12f}};
constexpr Stroke k8b[] = {k8b1, k8b2};
constexpr StrokePoint k8c1[] = {{0.5f, -0.85f}, {0.0f, -0.98f}, {-0.35f, -0.6f}, {0.0f, -0.1f},  {0.35f, 0.4f},
                                {0.15f, 0.95f}, {-0.25f, 0.9f}, {-0.3f, 0.45f},  {0.1f, -0.05f}, {0.5f, -0.8f}};
constexpr Stroke k8c[] = {k8c1};
constexpr Glyph k8[] = {k8a, k8b, k8c};

// 9
constexpr StrokePoint k9a1[] = {{0.38f, -0.6f}, {0.1f, -1.0f},  {-0.4f, -0.76f}, {-0.4f, -0.3f},
                                {0.0f, -0.05f}, {0.35f, -0.3f}, {0.42f, -0.72f}};
constexpr StrokePoint k9a2[] = {{0.42f, -0.72f}, {0.4f, 0.1f}, {0.25f, 1.0f}};
constexpr Stroke k9a[] = {k9a1, k9a2};
constexpr StrokePoint k9b1[] = {{0.4f, -0.5f},   {0.2f, -0.95f}, {-0.25f, -0.92f}, {-0.45f, -0.45f},
                                {-0.1f, -0.08f}, {0.3f, -0.3f},  {0.42f, -0.7f},   {0.45f, 0.0f},
                                {0.2f, 0.8f},    {-0.15f, 1.0f}, {-0.45f, 0.75f}};
constexpr Stroke k9b[] = {k9b1};
constexpr StrokePoint k9c1[] = {{0.2f, -1.0f}, {-0.3f, -0.85f}, {-0.4f, -0.35f}, {0.0f, -0.1f},
                                {0.3f, -0.4f}, {0.25f, -0.95f}, {0.2f, 0.0f},    {0.05f, 1.0f}};
constexpr Stroke k9c[] = {k9c1};
constexpr Glyph k9[] = {k9a, k9b, k9c};

constexpr std::array<std::span<const Glyph>, 10> kDigits = {k0, k1, k2, k3, k4, k5, k6, k7, k8, k9};

}  // namespace

std::span<const Glyph> digit_glyphs(int digit) {
  DPTRAIN_CHECK(digit >= 0 && digit <= 9, "there is no digit {}", digit);
  return kDigits[static_cast<std::size_t>(digit)];
}

}  // namespace dptrain
