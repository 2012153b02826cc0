#include "service/metrics_endpoint.h"

#if SLUICE_HAS_PROMETHEUS

#include <exception>
#include <vector>

#include <prometheus/collectable.h>
#include <prometheus/exposer.h>
#include <prometheus/metric_family.h>

namespace sluice::service {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

// Reads the engine when it is asked, so that counting costs requests nothing.
class EngineMetrics final : public prometheus::Collectable {
 public:
  explicit EngineMetrics(Engine* engine) : engine_(engine) {}

  std::vector<MetricFamily> Collect() const override {
    std::vector<MetricFamily> families;
    Counters& counters = engine_->counters();
    const auto add = [&](const char* name, const char* help, MetricType type) {
      families.push_back({name, help, type, {}});
    };
    const auto value = [&](double number, std::vector<ClientMetric::Label> labels = {}) {
      ClientMetric metric;
      metric.label = std::move(labels);
      metric.counter.value = number;
      metric.gauge.value = number;
      families.back().metric.push_back(std::move(metric));
    };
    const auto single = [&](const char* name, const char* help, MetricType type, int64_t number) {
      add(name, help, type);
      value(static_cast<double>(number));
    };
    single("sluice_step", "Steps taken by this server", MetricType::Gauge, engine_->step());
    single("sluice_samples_total", "Samples trained on", MetricType::Counter, engine_->samples());
    single("sluice_received_bytes_total", "Bytes of messages received", MetricType::Counter, counters.bytes_received);
    single("sluice_sent_bytes_total", "Bytes of messages sent", MetricType::Counter, counters.bytes_sent);
    single("sluice_pushes_total", "Pushes applied", MetricType::Counter, counters.pushes);
    single("sluice_repeated_pushes_total", "Pushes that came again and had no effect", MetricType::Counter,
           counters.repeated_pushes);
    single("sluice_lost_pushes_total", "Pushes that nobody will send again", MetricType::Counter, counters.lost_pushes);
    single("sluice_partial_pushes_total", "Pushes of lost clients that some servers applied and others did not",
           MetricType::Counter, counters.partial_pushes);
    single("sluice_missing_samples", "Samples claimed by workers whose pushes this server has not applied",
           MetricType::Gauge, engine_->missing_samples());
    single("sluice_rejected_requests_total", "Requests answered with a failure", MetricType::Counter,
           counters.rejected);
    single("sluice_rows_pulled_total", "Keys of pulls", MetricType::Counter, counters.rows_pulled);
    single("sluice_rows_pushed_total", "Keys of pushes", MetricType::Counter, counters.rows_pushed);
    single("sluice_staleness_sum", "Pushes of others between pull and push, summed over pushes", MetricType::Counter,
           counters.staleness_sum);
    single("sluice_staleness_max", "The most pushes of others between a pull and its push", MetricType::Gauge,
           counters.staleness_max);
    single("sluice_clients", "Clients that have joined", MetricType::Gauge,
           static_cast<int64_t>(engine_->Clients().size()));

    const auto tables = engine_->backend().Report();
    add("sluice_table_rows", "Rows of a table", MetricType::Gauge);
    for (const auto& table : tables) value(static_cast<double>(table.stats.rows), {{"table", table.name}});
    add("sluice_table_bytes", "Memory of a table", MetricType::Gauge);
    for (const auto& table : tables) value(static_cast<double>(table.stats.memory_bytes), {{"table", table.name}});

    add("sluice_request_seconds", "Time of requests lately", MetricType::Summary);
    for (const auto& [kind, latencies] : {std::pair{"pull", &counters.pulls}, std::pair{"push", &counters.pushes_time},
                                          std::pair{"lookup", &counters.lookups}}) {
      const auto summary = latencies->Summarise();
      ClientMetric metric;
      metric.label = {{"kind", kind}};
      metric.summary.sample_count = static_cast<uint64_t>(summary.count);
      metric.summary.quantile = {{0.5, summary.p50_ms * 1e-3}, {0.99, summary.p99_ms * 1e-3}};
      families.back().metric.push_back(std::move(metric));
    }
    return families;
  }

 private:
  Engine* engine_;
};

class PrometheusEndpoint final : public MetricsEndpoint {
 public:
  PrometheusEndpoint(const std::string& address, Engine* engine)
      : metrics_(std::make_shared<EngineMetrics>(engine)), exposer_(address, 1) {
    exposer_.RegisterCollectable(metrics_);
  }

 private:
  std::shared_ptr<EngineMetrics> metrics_;  // the exposer holds it weakly
  prometheus::Exposer exposer_;
};

}  // namespace

Result<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Start(const std::string& address, Engine* engine) {
  try {
    return std::unique_ptr<MetricsEndpoint>(std::make_unique<PrometheusEndpoint>(address, engine));
  } catch (const std::exception& error) {
    return Status(StatusCode::kUnavailable, fmt::format("the address cannot be used: {}", error.what()));
  }
}

}  // namespace sluice::service

#else

namespace sluice::service {

Result<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Start(const std::string&, Engine*) {
  return InvalidArgument("this build has no metrics endpoint; install prometheus-cpp and build again");
}

}  // namespace sluice::service

#endif
